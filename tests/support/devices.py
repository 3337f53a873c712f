"""Devices for tests, of the kind that ``--device`` names."""

import itertools

import owl
from owl.testing import _standin
from owl.testing.fuzz.worlds import DEVICES, choose_devices

_makers = itertools.cycle(DEVICES["cpu"])


def choose(kind: str) -> None:
    """What `new_device` and the fuzzer's programs make from now on, of the fuzzer's `DEVICES`."""
    global _makers
    _makers = itertools.cycle(DEVICES[kind])
    choose_devices(kind)


def problems() -> list[str]:
    """What the stand-in for CUDA's driver, if that is in use, found wrong since this was asked last."""
    control = _standin.chosen()
    return control.problems() if control else []


def new_device() -> owl.Device:
    """A device of its own."""
    return next(_makers)()
