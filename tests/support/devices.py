"""Devices for tests, of the kind that ``--device`` names."""

import itertools

import owl
import owl.testing

KINDS = {
    "cpu": [owl.create_cpu_device],
    "remote": [owl.testing.remote_device],
    "cpu+remote": [owl.create_cpu_device, owl.testing.remote_device],
}
_makers = itertools.cycle(KINDS["cpu"])


def choose(kind: str) -> None:
    """What `new_device` makes from now on."""
    global _makers
    _makers = itertools.cycle(KINDS[kind])


def new_device() -> owl.Device:
    """A device of its own."""
    return next(_makers)()
