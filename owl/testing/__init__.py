"""What owl tests itself with, public so that others can test their code on owl with it.

Counters of everything that lives natively, faults and limits that come when asked for, arrays whose values come late,
switches of the planner, and the operations in float64 NumPy. Faults, limits and switches hold for the whole process and
not for one thread: tests that use them must not run side by side in one process.

>>> import owl.testing
>>> with owl.testing.assert_no_leaks():
...     total = float(owl.ones([8]).sum())
>>> total
8.0
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

import owl
from owl import _runtime
from owl._config import memory_info
from owl._runtime import promise
from owl.testing._standin import standin

__all__ = [
    "assert_no_leaks",
    "bounds",
    "counters",
    "cross_entropy_oracle",
    "faults",
    "hold_compile",
    "inject_fault",
    "kernel_delay",
    "log_softmax_oracle",
    "memory_info",
    "memory_limit",
    "operations",
    "oracles",
    "planner_counters",
    "promise",
    "random_windows",
    "remote_device",
    "settle",
    "softmax_oracle",
    "specialized_kernels",
    "standin",
    "trim_memory",
    "unfused",
]


# ------------------------------------------------------------------------------------------------------------ counting


def counters() -> dict[str, int]:
    """What lives natively: ``nodes``, ``buffers``, ``runs``, ``bytes`` in use on all devices, ``streams`` of recording,
    closed windows that are ``waiting`` to be handed over.

    Evaluates nothing and does not block; any thread may call it.
    """
    return _runtime.debug_counters()


def planner_counters() -> dict[str, int]:
    """How many windows, plans, plans that were known (``hits``) and nodes there were since the process began.

    Evaluates nothing and does not block; any thread may call it.
    """
    return _runtime.planner_counters()


def specialized_kernels(wait: bool = False) -> dict[str, int]:
    """How many programs on GPUs have a kernel of their own, since the process began.

    Parameters
    ----------
    wait : bool
        Block until all kernels that were asked for are there, or could not be made. By default it does not block.

    Returns
    -------
    dict of str to int
        ``waiting``: kernels that are asked for; ``made``, for each device; ``failed``: those whose programs stay with
        the interpreter; ``launches`` of these kernels. All are 0 before the first GPU device and with
        ``OWL_CUDA_JIT=0``.

    Notes
    -----
    Evaluates nothing. Any thread may call it.

    Examples
    --------
    >>> sorted(owl.testing.specialized_kernels())
    ['failed', 'launches', 'made', 'waiting']
    """
    return _runtime.specialized_kernels(wait)


def settle(timeout: float = 10.0) -> dict[str, int]:
    """Collects garbage and waits for windows that were closed and runs under way; returns the counters.

    Values of GPUs that other libraries have let go of are not counted: it waits for the GPUs too.

    Parameters
    ----------
    timeout : float
        Seconds after which it gives up waiting.

    """
    gc.collect()
    until = time.monotonic() + timeout
    while ((now := counters())["runs"] or now["waiting"]) and time.monotonic() < until:
        time.sleep(0.0005)
    _runtime.settle_exports()
    return counters()


@contextlib.contextmanager
def assert_no_leaks(timeout: float = 10.0) -> Iterator[None]:
    """Asserts that no more nodes, buffers and runs live after the block than before it.

    Parameters
    ----------
    timeout : float
        Seconds to wait for runs under way to end.

    Raises
    ------
    AssertionError
        With the counters before and after. Exceptions of the block itself pass through unchanged.

    Notes
    -----
    Collects garbage before and after. Arrays bound to names that outlive the block count as leaks.

    """
    kinds = ("nodes", "buffers", "runs")
    before = settle(timeout)
    yield
    after = settle(timeout)
    until = time.monotonic() + timeout
    while any(after[kind] > before[kind] for kind in kinds) and time.monotonic() < until and after["runs"]:
        after = settle(timeout)
    grown = {kind: (before[kind], after[kind]) for kind in kinds if after[kind] > before[kind]}
    if grown:
        told = ", ".join(f"{kind}: {was} before, {now} after" for kind, (was, now) in grown.items())
        raise AssertionError(f"something native leaks: {told}")


# ------------------------------------------------------------------------------------------------------------- faults


def operations() -> list[str]:
    """The names of all operations, as `inject_fault` takes them and errors tell them."""
    return _runtime.operation_names()


def inject_fault(operation: str, kind: str = "injected", skip: int = 0, count: int = 1) -> None:
    """Makes kernels that contain an operation fail, until `count` have failed or a `faults` block ends.

    Parameters
    ----------
    operation : str
        One of `operations`.
    kind : str
        ``"injected"``, or ``"out_of_memory"`` for an `owl.OutOfMemoryError`.
    skip : int
        How many such kernels succeed first.
    count : int
        How many then fail.

    Raises
    ------
    ValueError
        If there is no such operation or kind.

    """
    if kind not in ("injected", "out_of_memory"):
        raise _runtime.OwlValueError(f"[inject_fault] a fault is 'injected' or 'out_of_memory', not {kind!r}")
    _runtime.inject_fault(operation, kind, skip, count)


@contextlib.contextmanager
def faults(*operations: str, kind: str = "injected", skip: int = 0, count: int = 1) -> Iterator[None]:
    """Injects a fault into each operation, and takes back all faults at the end. See `inject_fault`.

    >>> with owl.testing.faults("exp"):
    ...     owl.elewise.exp(owl.zeros([2])).to_numpy()
    Traceback (most recent call last):
        ...
    owl._runtime.ExecutionError: ...
    """
    try:
        for operation in operations:
            inject_fault(operation, kind, skip, count)
        yield
    finally:
        _runtime.clear_faults()


@contextlib.contextmanager
def memory_limit(bytes: int, beyond_current: bool = False, device: owl.Device | None = None) -> Iterator[None]:
    """Refuses to let more of a device's memory than this be in use, as a machine without more would.

    Parameters
    ----------
    bytes : int
        The limit.
    beyond_current : bool
        Count from what is in use now.
    device : owl.Device, optional
        Whose memory, by default the current device's. All CPU devices share the host's memory.

    """
    limited = owl.get_device() if device is None else device
    if beyond_current:
        settle()
        bytes += memory_info(limited)["in_use"]
    _runtime.set_memory_limit(bytes, limited)
    try:
        yield
    finally:
        _runtime.set_memory_limit(None, limited)


def trim_memory(device: owl.Device | None = None) -> None:
    """Gives memory that owl keeps for its next arrays back to the system, so that only values take memory.

    Parameters
    ----------
    device : owl.Device, optional
        By default the current device.

    Evaluates nothing and does not block; any thread may call it.

    >>> owl.testing.trim_memory()
    """
    _runtime.trim_memory(owl.get_device() if device is None else device)


# ------------------------------------------------------------------------------------------------------------ devices


def remote_device() -> owl.Device:
    """A new device whose memory the host cannot read, on any machine: to test code that crosses devices.

    Its values lie at addresses that fault when they are followed, so that only transfers reach them; its kernels are
    the CPU's and give the CPU's bits. It begins runs before those ahead of them have ended, and completes them late and
    in order. Its name is ``remote:0``, then ``remote:1`` and so on; like any device it lives as long as the process.

    >>> remote = owl.testing.remote_device()
    >>> with remote:
    ...     x = owl.ones([3]) * 2
    >>> x.to_numpy()
    array([2., 2., 2.], dtype=float32)
    """
    return _runtime.create_remote_device()


@contextlib.contextmanager
def kernel_delay(microseconds: int) -> Iterator[None]:
    """Pauses before every kernel, so that work is still under way when a test looks."""
    _runtime.set_delay(microseconds)
    try:
        yield
    finally:
        _runtime.set_delay(0)


# ------------------------------------------------------------------------------------------------------------ planner


@contextlib.contextmanager
def hold_compile() -> Iterator[Callable[[], int]]:
    """Holds up every plan that is not known yet, until the block ends. Gives a function: how many compilations wait.

    What needs their values waits for them, and the thread that asked for the plan is inside its call; everything else
    goes on. Plans that are known need no compilation.

    >>> with owl.testing.hold_compile() as held:
    ...     held()
    0
    """
    _runtime.hold_compile(True)
    try:
        yield _runtime.held_compilations
    finally:
        _runtime.hold_compile(False)


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Compiles plans without fusing operations, as ``OWL_FUSE=0`` does. No bit of a result may depend on it."""
    was = _runtime.set_fuse(False)
    try:
        yield
    finally:
        _runtime.set_fuse(was)


@contextlib.contextmanager
def random_windows(seed: int = 1) -> Iterator[None]:
    """Cuts windows at random places, as ``OWL_WINDOW=random`` does. No bit of a result may depend on it."""
    _runtime.set_random_windows(seed)
    try:
        yield
    finally:
        outer = os.environ.get("OWL_WINDOW") == "random"
        _runtime.set_random_windows(int(os.environ.get("OWL_WINDOW_SEED", "1")) if outer else None)


@contextlib.contextmanager
def bounds(nodes: int | None = None, bytes: int | None = None, runs: int | None = None) -> Iterator[None]:
    """Sets the bounds at which windows close and recording waits.

    Parameters
    ----------
    nodes : int, optional
        Recorded nodes at which a window closes.
    bytes : int, optional
        Bytes of their results at which it closes.
    runs : int, optional
        Runs ahead of an executor beyond which recording waits.

    """
    was = _runtime.set_bounds(nodes, bytes, runs)
    try:
        yield
    finally:
        _runtime.set_bounds(**was)


# ------------------------------------------------------------------------------------------------------------ oracles


def _sigm(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _clip(x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(x, low), high)


def _pow(x: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.power(x, y)


def _ln(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.log(x)


def _sqrt(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.sqrt(x)


def _exp(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.exp(x)


_erf = np.vectorize(math.erf, [float])
_erfc = np.vectorize(math.erfc, [float])


def _gelu(x: Any) -> Any:
    x = np.maximum(x, -np.finfo(float).max)
    return x * (0.5 * _erfc(-x / math.sqrt(2)))


def _rsqrt(x: Any) -> Any:
    with np.errstate(all="ignore"):
        return 1 / np.sqrt(x)


def _sigm_back(y: Any, top: Any = None) -> Any:
    return y * (1 - y) if top is None else y * (top * (1 - top))


def _tanh_back(y: Any, top: Any = None) -> Any:
    return 1 - y * y if top is None else y * (1 - top * top)


oracles: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "abs": np.abs,
        "clip": _clip,
        "erf": _erf,
        "exp": _exp,
        "floor": np.floor,
        "gelu": _gelu,
        "isfinite": lambda x: np.isfinite(x) * 1.0,
        "leaky_relu": lambda x, slope: np.where(x > 0, x, x * slope),
        "ln": _ln,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "mult": np.multiply,
        "pow": _pow,
        "relu": lambda x: np.maximum(x, 0),
        "relu_back": lambda y, x: np.where(x > 0, y, 0),
        "rsqrt": _rsqrt,
        "sigm": _sigm,
        "sigm_back": _sigm_back,
        "softplus": lambda x: np.logaddexp(x, 0),
        "sqrt": _sqrt,
        "tanh": np.tanh,
        "tanh_back": _tanh_back,
        "where": lambda condition, x, y: np.where(condition != 0, x, y),
    }
)
"""Every function of `owl.elewise` by name, over NumPy arrays. Give them float64 to compare with."""


def softmax_oracle(x: Any, mode: int = 0) -> Any:
    """`owl.conv.softmax` over a NumPy array with its dimensions reversed, as `to_numpy` gives them.

    >>> owl.testing.softmax_oracle(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    axes = 1 if mode == 1 else tuple(range(1, x.ndim))
    if x.size == 0:
        return x
    powers = np.exp(x - x.max(axis=axes, keepdims=True))
    return powers / powers.sum(axis=axes, keepdims=True)


def log_softmax_oracle(x: Any, mode: int = 0) -> Any:
    """`owl.conv.log_softmax` over a NumPy array with its dimensions reversed, as `to_numpy` gives them.

    >>> owl.testing.log_softmax_oracle(np.array([[0.0, -1000.0]]))
    array([[    0., -1000.]])
    """
    axes = 1 if mode == 1 else tuple(range(1, x.ndim))
    if x.size == 0:
        return x
    below = x - x.max(axis=axes, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=axes, keepdims=True))


def cross_entropy_oracle(z: Any, label: Any) -> Any:
    """`owl.conv.cross_entropy` over NumPy arrays with their dimensions reversed, as `to_numpy` gives them.

    >>> owl.testing.cross_entropy_oracle(np.array([[0.0, -np.inf]]), np.array([[1.0, 0.0]]))
    array([[0.]])
    """
    costs = np.where(label != 0, label * -np.where(label != 0, log_softmax_oracle(z), 0.0), 0.0)
    return costs.sum(axis=1, keepdims=True)
