"""A driver of CUDA, called by ctypes as the device calls it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from owl.testing import _standin

MEBIBYTE = 1 << 20
(
    SUCCESS,
    INVALID_VALUE,
    OUT_OF_MEMORY,
    NOT_INITIALIZED,
    NO_DEVICE,
    INVALID_DEVICE,
    INVALID_IMAGE,
    INVALID_CONTEXT,
    INVALID_HANDLE,
    NOT_FOUND,
    NOT_READY,
    ILLEGAL_ADDRESS,
) = (0, 1, 2, 3, 100, 101, 200, 201, 400, 500, 600, 700)


class Driver(_standin.Control):
    """One copy of the library, with nothing in it from before: what a process has once, a test has for itself."""

    def configured(
        self, *, devices: int = 1, memory: int = 16 * MEBIBYTE, seed: int = 0, lazy: bool = True, peers: bool = True
    ) -> Driver:
        assert self.configure(devices, memory, seed, lazy, peers)
        return self

    def started(self, **options: Any) -> Driver:
        """With the first device's context current on this thread."""
        self.configured(**options)
        self.ok("cuInit", 0)
        self.ok("cuCtxPushCurrent_v2", self.context(0))
        return self

    def call(self, symbol: str, *arguments: Any) -> int:
        """Whole numbers are of 64 bits: addresses, sizes and handles are, and flags do not mind."""
        given = [ctypes.c_uint64(x) if type(x) is int else x for x in arguments]
        return getattr(self.library, symbol)(*given)

    def ok(self, symbol: str, *arguments: Any) -> None:
        assert self.call(symbol, *arguments) == SUCCESS, symbol

    def made(self, symbol: str, *arguments: Any) -> int:
        """The handle or address that a function stores where its first argument points to."""
        value = ctypes.c_uint64()
        self.ok(symbol, ctypes.byref(value), *arguments)
        return value.value

    def context(self, device: int) -> int:
        return self.made("cuDevicePrimaryCtxRetain", device)

    def stream(self) -> int:
        return self.made("cuStreamCreate", 1)

    def event(self) -> int:
        return self.made("cuEventCreate", 3)

    def memory(self, bytes: int) -> int:
        return self.made("cuMemAlloc_v2", bytes)

    def pinned(self, count: int, dtype: Any = np.float32) -> np.ndarray:
        bytes = count * np.dtype(dtype).itemsize
        data = self.made("cuMemHostAlloc", bytes, 0)
        return np.frombuffer((ctypes.c_char * bytes).from_address(data), dtype)

    def upload(self, to: int, x: np.ndarray, stream: int) -> int:
        return self.call("cuMemcpyHtoDAsync_v2", to, x.ctypes.data, x.nbytes, stream)

    def download(self, x: np.ndarray, source: int, stream: int) -> int:
        return self.call("cuMemcpyDtoHAsync_v2", x.ctypes.data, source, x.nbytes, stream)

    def numbers(self, source: int, count: int, stream: int) -> np.ndarray:
        """What lies there after all that is in the stream."""
        x = np.empty(count, np.float32)
        assert self.download(x, source, stream) == SUCCESS
        return x

    def on_device(self, x: np.ndarray, stream: int) -> int:
        """The address of a copy."""
        address = self.memory(x.nbytes)
        assert self.upload(address, x, stream) == SUCCESS
        return address

    def kernel(self, name: str) -> int:
        module = self.made("cuModuleLoadData", _standin.module_image())
        return self.made("cuModuleGetFunction", module, name.encode())

    def launch(
        self, function: int, args: ctypes.Structure, stream: int, grid: int = 1, block: int = 256, shared: int = 0
    ) -> int:
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        sizes = [ctypes.c_uint(n) for n in (grid, 1, 1, block, 1, 1, shared)]
        return self.call("cuLaunchKernel", function, *sizes, stream, parameters, None)

    def parameters(
        self, function: int, args: ctypes.Structure, grid: int = 1, block: int = 256
    ) -> KernelNodeParameters:
        """Of a node; the arguments are read when the node is made or changed."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(args))
        node = KernelNodeParameters(function, grid, 1, 1, block, 1, 1, 0, ctypes.addressof(pointers))
        node.kept = args, pointers
        return node

    def graph(self, *nodes: tuple[KernelNodeParameters, list[int]]) -> tuple[int, list[int]]:
        """What can be launched, of nodes that are given with the numbers of those before them; and their handles."""
        graph, made = self.made("cuGraphCreate", 0), []
        for parameters, before in nodes:
            earlier = (ctypes.c_uint64 * len(before))(*(made[k] for k in before))
            count, given = ctypes.c_size_t(len(before)), ctypes.byref(parameters)
            made.append(self.made("cuGraphAddKernelNode_v2", graph, earlier, count, given))
        return self.made("cuGraphInstantiateWithFlags", graph, 0), made


def fresh(path: Path, folder: Path) -> Driver:
    """A driver of its own: the system opens a file once, so that another one needs a copy."""
    copies = sum(1 for _ in folder.glob("driver*.so"))
    copy = folder / f"driver{copies}.so"
    copy.write_bytes(path.read_bytes())
    return Driver(copy)


class KernelNodeParameters(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS_v2."""

    _fields_ = [
        ("function", ctypes.c_uint64),
        *((name, ctypes.c_uint) for name in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared")),
        ("parameters", ctypes.c_uint64),
        ("extra", ctypes.c_uint64),
        ("kernel", ctypes.c_uint64),
        ("context", ctypes.c_uint64),
    ]
    kept: tuple[Any, ...]


class CopyLaunch(ctypes.Structure):
    """CopyLaunch of args.h."""

    _fields_ = [
        ("size", ctypes.c_int64),
        ("shape", ctypes.c_int64 * 8),
        ("src_stride", ctypes.c_int64 * 8),
        ("dst_stride", ctypes.c_int64 * 8),
        ("src", ctypes.c_uint64),
        ("dst", ctypes.c_uint64),
        ("ndim", ctypes.c_int64),
    ]


def copying(source: int, target: int, count: int) -> CopyLaunch:
    """The arguments of copy_f32_f32_i32 for numbers that lie beside each other."""
    args = CopyLaunch(size=count, src=source, dst=target, ndim=1)
    args.shape[0], args.src_stride[0], args.dst_stride[0] = count, 1, 1
    return args
