"""Devices for tests, of the kind that ``--device`` names."""

import itertools

import owl
from owl.testing.fuzz.worlds import DEVICES, choose_devices

_makers = itertools.cycle(DEVICES["cpu"])


def choose(kind: str) -> None:
    """What `new_device` and the fuzzer's programs make from now on, of the fuzzer's `DEVICES`."""
    global _makers
    _makers = itertools.cycle(DEVICES[kind])
    choose_devices(kind)


def new_device() -> owl.Device:
    """A device of its own."""
    return next(_makers)()
