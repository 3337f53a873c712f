"""What becomes a run, and when, with devices whose runs end when a test says so."""

import pytest

BIG = [64, 1024]  # 256 KiB: one operation is worth a window


def step(world, w, *, shape=BIG, length=5):
    """One round of a loop, as Python runs it: names are bound anew one step late."""
    x = w
    for name in ("tanh", "neg", "exp", "abs", "sqrt")[:length]:
        x = world.record(name, shape, [x])
    return world.record("add", shape, [w, x])


def states(values):
    return [value.state for value in values]


def test_a_loop_becomes_one_run_a_round_with_one_plan(native):
    world = native.World()
    world.stream()
    w = world.leaf(BIG)
    for _ in range(30):
        w = step(world, w)
    world.flush()
    counted = world.statistics()
    assert counted["hits"] >= counted["plans"] - 6
    # In the middle of the loop each run is a whole round, and only the weights leave it.
    operations, _, outputs = world.queue()[15]
    assert sorted(operations) == sorted(["tanh", "neg", "exp", "abs", "sqrt", "add"])
    assert outputs == 1
    while world.queue():
        assert "recorded" not in world.queue()[0][1]
        world.finish()
    assert w.state == "done"


def test_a_request_submits_what_it_needs_and_nothing_else(native):
    world = native.World()
    world.stream()
    x = world.leaf([8])
    wanted = world.record("tanh", [8], [world.record("neg", [8], [x])])
    beside = world.record("exp", [8], [x])
    world.request([wanted])
    assert [operations for operations, _, _ in world.queue()] == [["neg", "tanh"]]
    assert states([wanted, beside]) == ["submitted", "recorded"]
    world.finish()
    assert states([wanted, beside]) == ["done", "recorded"]
    world.request([wanted])
    assert world.queue() == []


def test_a_value_that_nothing_refers_to_is_never_computed(native):
    world = native.World()
    world.stream()
    x = world.leaf([8])
    unread = world.record("exp", [8], [x])
    del unread
    y = world.record("tanh", [8], [x])
    world.flush()
    assert [operations for operations, _, _ in world.queue()] == [["tanh"]]
    assert y.state == "submitted"


def test_flush_submits_each_node_once(native):
    world = native.World()
    world.stream()
    x = world.leaf([8])
    a = world.record("exp", [8], [x])
    world.request([a])
    b = world.record("neg", [8], [a])
    world.flush()
    world.flush()
    assert [operations for operations, _, _ in world.queue()] == [["exp"], ["neg"]]
    assert b.state == "submitted"


def test_a_failure_goes_to_all_that_depend_on_it_and_to_nothing_else(native):
    world = native.World()
    world.stream()
    x = world.leaf([8])
    a = world.record("exp", [8], [x])
    world.request([a])
    beside = world.record("neg", [8], [x])
    world.request([beside])
    world.finish(fail=True)
    world.finish()
    assert states([a, beside]) == ["failed", "done"]


@pytest.mark.parametrize("fail", [False, True])
def test_a_run_waits_for_a_value_of_another_device(native, fail):
    world = native.World(devices=2)
    world.stream()
    x = world.leaf([8])
    here = world.record("exp", [8], [x])
    there = world.record("tanh", [8], [here], device=1)  # a transfer is recorded before it
    world.flush()
    assert [operations for operations, _, _ in world.queue(0)] == [["exp"]]
    assert world.queue(1) == []
    world.finish(0, fail=fail)
    ((operations, inputs, _),) = world.queue(1)
    assert operations == ["to_device", "tanh"]
    assert inputs == ["failed" if fail else "done"]
    world.finish(1, fail=fail)
    assert states([here, there]) == ["failed" if fail else "done"] * 2


def test_devices_that_read_one_another_do_not_wait_in_a_circle(native):
    world = native.World(devices=2)
    world.stream()
    a, b = world.leaf([8], device=0), world.leaf([8], device=1)
    for _ in range(20):
        a, b = (
            world.record("add", [8], [a, b], device=0),
            world.record("mul", [8], [b, a], device=1),
        )
    world.flush()
    ended = 0
    while world.queue(0) or world.queue(1):
        world.finish(0 if world.queue(0) else 1)
        ended += 1
    assert ended >= 2
    assert states([a, b]) == ["done", "done"]


def test_two_streams_that_read_one_another_are_submitted_together(native):
    world = native.World()
    first, second = world.stream(), world.stream()
    x = world.leaf([8], stream=first)
    a = world.record("exp", [8], [x], stream=first)
    b = world.record("neg", [8], [a], stream=second)
    c = world.record("tanh", [8], [b], stream=first)
    world.request([c])
    assert [operations for operations, _, _ in world.queue()] == [["exp", "neg", "tanh"]]
    world.finish()
    assert states([a, b, c]) == ["done"] * 3


def test_a_closed_window_waits_until_its_names_are_bound_anew(native):
    world = native.World()
    world.stream()
    w = world.leaf(BIG)
    for _ in range(12):
        w = step(world, w)
    before = len(world.queue())
    held = w  # the name outlives its round once
    w = step(world, w)
    w = step(world, w)
    assert len(world.queue()) <= before + 2
    del held
    world.flush()
    while world.queue():
        world.finish()
    assert w.state == "done"


def test_a_device_without_work_gets_what_waits(native):
    world = native.World(early_start=True)
    world.stream()
    w = world.leaf(BIG)
    for _ in range(3):
        w = step(world, w)
    submitted = len(world.queue())
    world.on_idle()
    assert len(world.queue()) >= submitted
    for _ in range(3):
        w = step(world, w)
    world.on_idle()
    assert len(world.queue()) > submitted
    world.flush()
    while world.queue():
        world.finish()
    assert w.state == "done"


def test_a_window_that_was_once_seen_needs_no_new_plan_after_a_request(native):
    world = native.World()
    world.stream()
    x = world.leaf([8])
    for _ in range(5):
        loss = world.record("tanh", [8], [world.record("neg", [8], [x])])
        world.request([loss])
        world.finish()
        assert loss.state == "done"
    assert world.statistics() == {"windows": 5, "plans": 5, "hits": 4, "dead": 5}
