"""The exports of the stand-in driver by which a test steers it, for Python."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "configure": (ctypes.c_int, (ctypes.c_int, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_int, ctypes.c_int)),
    "fail": (None, (ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int)),
    "break": (None, (ctypes.c_uint64,)),
    "calls": (ctypes.c_uint64, (ctypes.c_char_p,)),
    "skip_wait": (None, (ctypes.c_char_p, ctypes.c_uint64)),
    "skip_is_pending": (ctypes.c_int, ()),
    "waits": (ctypes.c_uint64, ()),
    "problems": (ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t)),
    "last_graph": (ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t)),
    "copied_bytes": (ctypes.c_uint64, ()),
    "peer_copies": (ctypes.c_uint64, (ctypes.c_int,)),
    "products": (ctypes.c_size_t, (ctypes.c_char_p, ctypes.c_size_t)),
    "reset_problems": (None, ()),
    "host_access": (None, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)),
}


class Control:
    """Steers one loaded stand-in and asks it what it has seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        for name, (result, parameters) in _SIGNATURES.items():
            function = getattr(self.library, f"owl_standin_{name}")
            function.restype, function.argtypes = result, parameters

    def configure(self, devices: int, memory: int, seed: int, lazy: bool, peers: bool = True) -> bool:
        """Chooses what there is, before cuInit; after it, the seed alone. False: it is too late."""
        return self.library.owl_standin_configure(devices, memory, seed, lazy, peers) == 0

    def fail(self, symbol: str, nth: int = 1, code: int = 2) -> None:
        """The `nth` call of that symbol from now, 1 for the next, returns `code` and does nothing."""
        self.library.owl_standin_fail(symbol.encode(), nth, code)

    def break_launch(self, nth: int = 1) -> None:
        """The `nth` launch from now faults when it runs; every call after that returns 700."""
        getattr(self.library, "owl_standin_break")(nth)  # noqa: B009  # a keyword

    def calls(self, symbol: str) -> int:
        """How often that symbol was called."""
        return self.library.owl_standin_calls(symbol.encode())

    def skip_wait(self, nth: int = 1, symbol: str = "") -> None:
        """The `nth` call from now that waits (see `waits`; of `symbol` alone, if given) succeeds and neither waits nor
        orders anything; 0 takes it back.
        """
        self.library.owl_standin_skip_wait(symbol.encode(), nth)

    def skip_is_pending(self) -> bool:
        """Whether the call that is to be skipped is still to come."""
        return bool(self.library.owl_standin_skip_is_pending())

    def waits(self) -> int:
        """How often something waited: cuStreamWaitEvent, cuEventSynchronize, cuStreamSynchronize, cuCtxSynchronize, and
        cuEventQuery where it said that the event is done.
        """
        return self.library.owl_standin_waits()

    def problems(self) -> list[str]:
        """What was found wrong since the last call: addresses that are no memory of the device's, and, in a checked
        build, operations without an order and races in the shared memory of a kernel.
        """
        return self._lines(self.library.owl_standin_problems)

    def last_graph(self) -> list[tuple[str, list[int]]]:
        """The nodes of the CUDA graph that was instantiated last: each one's kernel, and the numbers of those before
        it.
        """
        words = [line.split() for line in self._lines(self.library.owl_standin_last_graph)]
        return [(kernel, [int(node) for node in before]) for kernel, *before in words]

    def copied_bytes(self) -> int:
        """How many bytes were copied so far, by all streams and in all directions."""
        return self.library.owl_standin_copied_bytes()

    def peer_copies(self) -> tuple[int, int]:
        """How many copies went from one GPU to another by themselves, and how many through the host's memory."""
        return self.library.owl_standin_peer_copies(1), self.library.owl_standin_peer_copies(0)

    @staticmethod
    def _lines(take: Callable[[ctypes.Array[ctypes.c_char], int], int]) -> list[str]:
        buffer = ctypes.create_string_buffer(1 << 20)
        take(buffer, len(buffer))
        return buffer.value.decode().splitlines()

    def products(self) -> list[dict[str, int]]:
        """The products that cuBLAS was asked for since the last call: its parameters by their names, the numbers of the
        handle and of its stream, and the bytes of its workspace.
        """
        lines = (line.split() for line in self._lines(self.library.owl_standin_products))
        return [{name: int(number) for name, number in (word.split("=") for word in words)} for words in lines]

    def reset_problems(self) -> None:
        """Forgets what was found wrong."""
        self.library.owl_standin_reset_problems()

    def host_access(self, address: int, bytes: int, written: bool) -> None:
        """Tells that the host reads or writes pinned memory now."""
        self.library.owl_standin_host_access(address, bytes, written)
