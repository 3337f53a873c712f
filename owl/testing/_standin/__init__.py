"""A driver for CUDA that computes on the host, so that owl's CUDA device can be tested without a GPU.

It is a shared library with the driver's ABI, compiled from the C++ beside this file. `owl.testing.standin` chooses it
for the process; `cupy` is the part of CuPy that owl uses, over the same library.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import owl
from owl._cuda import cache, nvml
from owl.testing._standin import building
from owl.testing._standin.building import build
from owl.testing._standin.control import Control

__all__ = ["Control", "build", "chosen", "control", "library", "module_image", "standin"]


@dataclass
class _Configuration:
    devices: int
    memory: int
    seed: int
    lazy: bool
    checked: bool
    peers: bool


_control: Control | None = None
_chosen: _Configuration | None = None


def _start(wanted: _Configuration) -> Control:
    """Opens the library for this process, once."""
    global _chosen, _control
    control = Control(build(wanted.checked))
    if not control.configure(wanted.devices, wanted.memory, wanted.seed, wanted.lazy, wanted.peers):
        raise owl.DeviceError("[standin] the stand-in is in use already")
    _chosen, _control = wanted, control
    return control


def _checked() -> bool:
    text = os.environ.get("OWL_STANDIN_CHECKED", "")
    if text not in ("", "0", "1"):
        raise owl.OwlValueError(f"OWL_STANDIN_CHECKED is 0 or 1, not {text!r}")
    return text == "1"


def standin(
    devices: int | None = None,
    memory: int | None = None,
    seed: int | None = None,
    fail: tuple[str, int, int] | None = None,
    lazy: bool | None = None,
    checked: bool | None = None,
    peers: bool | None = None,
) -> Control:
    """Makes the GPUs of this process stand-ins that compute on the host: to test code for GPUs on any Linux machine.

    To be called before the first GPU device is created. The driver is compiled when it is first used on a machine,
    which takes a C++ compiler and some seconds, and kept under ``$XDG_CACHE_HOME/owl/standin``. A device's memory lies
    at addresses that fault when the host follows them. The kernels are owl's own for CUDA, compiled for the host: right
    numbers, slowly.

    Parameters
    ----------
    devices : int, optional
        How many GPUs there are: by default ``OWL_STANDIN_DEVICES``, or 1.
    memory : int, optional
        Bytes of each one's memory: by default ``OWL_STANDIN_MEMORY``, or 2 GiB.
    seed : int, optional
        Of all that is left to chance: the order in which a lazy driver runs what may run, and that of a kernel's
        threads. By default 0.
    fail : tuple of str, int and int, optional
        A symbol of the driver's, which of its calls from now on fails (1: the next), and CUDA's number of the error.
    lazy : bool, optional
        Run nothing before the host waits or asks, so that all happens as late as the waits allow, and in the same order
        for the same seed. By default each stream has a thread.
    checked : bool, optional
        Find operations that touch the same memory without an order between them, whether or not they happened to run in
        a right one, and races between the threads of a kernel. ``problems()`` of the result tells them. By default as
        ``OWL_STANDIN_CHECKED=1`` says, or not.
    peers : bool, optional
        GPUs may read each other's memory, so that copies between them take no way through the host's. By default they
        may.

    Returns
    -------
    Control
        Has the methods ``fail``, ``break_launch``, ``calls``, ``peer_copies``, ``skip_wait``, ``waits`` and
        ``problems``.

    Raises
    ------
    owl.DeviceError
        If there is no compiler, or a second call asks for other devices, memory, `lazy`, `checked` or `peers` than the
        first.

    Notes
    -----
    Sets ``OWL_CUDA_DRIVER=standin`` and ``OWL_STANDIN_DEVICES`` in this process, and so for those that it starts; the
    other choices are this process's alone. A second call may change `seed` and `fail`; what it leaves out stays.

    """
    now = _chosen or _Configuration(
        devices=nvml.standin_number("OWL_STANDIN_DEVICES", 1),
        memory=nvml.standin_number("OWL_STANDIN_MEMORY", 2 << 30),
        seed=0,
        lazy=False,
        checked=_checked(),
        peers=True,
    )
    wanted = _Configuration(
        devices=now.devices if devices is None else devices,
        memory=now.memory if memory is None else memory,
        seed=now.seed if seed is None else seed,
        lazy=now.lazy if lazy is None else lazy,
        checked=now.checked if checked is None else checked,
        peers=now.peers if peers is None else peers,
    )
    if _control is None:
        control = _start(wanted)
        os.environ["OWL_CUDA_DRIVER"] = "standin"
        os.environ["OWL_STANDIN_DEVICES"] = str(wanted.devices)
    else:
        control = _control
        fixed = [
            name
            for name in ("devices", "memory", "lazy", "checked", "peers")
            if getattr(now, name) != getattr(wanted, name)
        ]
        if fixed:
            raise owl.DeviceError(f"[standin] {', '.join(fixed)} cannot change: a process has one stand-in")
        if seed is not None:
            control.configure(wanted.devices, wanted.memory, seed, wanted.lazy, wanted.peers)
            now.seed = seed
    if fail is not None:
        control.fail(*fail)
    return control


def control() -> Control:
    """The stand-in of this process, opened as the environment says if `standin` was not called."""
    return _control or standin()


def chosen() -> Control | None:
    """The stand-in of this process, if it is in use."""
    return _control


def library() -> Path:
    """The driver that a device opens instead of NVIDIA's."""
    return control().path


def kernel_image(text: str, kernel: str) -> bytes:
    """What cuModuleLoadData takes for a kernel that is compiled by itself. It is kept on disk as a cubin would be."""
    checked = Path(library()).name == "libcuda-checked.so"
    key = building.digest("checked" if checked else "plain", text)
    return cache.kept(f"{kernel}-standin-{key}.so", lambda: building.module(text, kernel, checked))


def module_image() -> bytes:
    """What cuModuleLoadData takes for owl's kernels: they are in the library."""
    return b"owl stand-in"
