"""Measuring the loop's lag."""

import asyncio
import logging
import time

import pytest

import owl
import owl.aio


def hold_the_loop(seconds):
    time.sleep(seconds)  # held here


def test_a_held_loop_shows(run):
    async def main():
        async with owl.aio.LagMonitor(0.002) as lag:
            await asyncio.sleep(0.02)
            hold_the_loop(0.05)
            await asyncio.sleep(0.02)
        assert 0.045 <= lag.worst < 1
        assert 0 <= lag.p50 <= lag.p99 <= lag.worst
        assert lag.percentile(100) == lag.worst
        assert lag.holds == []
        count = lag.count
        await asyncio.sleep(0.02)
        assert lag.count == count > 4
        assert "worst" in str(lag)

    run(main)


@pytest.mark.parametrize("by_loop", [True, False])
def test_debug_mode_names_the_call(run, caplog, by_loop):
    async def main():
        async with owl.aio.LagMonitor(0.002, hold=0.02, debug=None if by_loop else True) as lag:
            await asyncio.sleep(0.01)
            hold_the_loop(0.15)
            await asyncio.sleep(0.01)
        return lag.holds

    with caplog.at_level(logging.WARNING, "owl.aio"):
        holds = run(main, debug=by_loop)
    found = [hold for hold in holds if "hold_the_loop" in hold.where]
    assert len(found) == 1
    assert found[0].seconds > 0.1
    assert __file__ in found[0].where
    assert found[0].where.endswith("# held here")
    assert any("hold_the_loop" in message for message in caplog.messages)


def test_a_blocking_call_of_owl_is_named(run, slow):
    async def main():
        xs = owl.ones([4])
        async with owl.aio.LagMonitor(0.002, hold=0.01, debug=True) as lag:
            await asyncio.sleep(0.005)
            for _ in range(5):
                xs = xs + 1
                xs.to_numpy()
            await asyncio.sleep(0.005)
        assert any("xs.to_numpy()" in hold.where for hold in lag.holds)

    run(main)


def test_wrong_use(run):
    with pytest.raises(ValueError, match="seconds"):
        owl.aio.LagMonitor(0)

    async def main():
        with owl.aio.LagMonitor() as lag, pytest.raises(RuntimeError, match="already"):
            lag.start()
        assert lag.p99 == lag.worst == 0.0

    run(main)


@pytest.mark.parametrize(
    "arguments", [{"interval": float("nan")}, {"interval": 0}, {"hold": float("inf")}, {"hold": "x"}]
)
def test_settings_that_cannot_be_are_refused(arguments):
    with pytest.raises((ValueError, TypeError), match=next(iter(arguments))) as raised:
        owl.aio.LagMonitor(**arguments)
    assert isinstance(raised.value, owl.OwlError)
