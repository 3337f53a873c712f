"""The part of CuPy that owl uses, over the stand-in driver: names and signatures are CuPy's.

CuPy itself finds out that the stand-in is none of NVIDIA's drivers, and refuses it.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np

from owl.testing import _standin

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_BLOCK, _NO_TIMING = 1, 2  # CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING

# Of the attributes that the stand-in knows, CuPy's names.
_ATTRIBUTES = {
    "MaxThreadsPerBlock": 1,
    "MaxBlockDimX": 2,
    "MaxBlockDimY": 3,
    "MaxBlockDimZ": 4,
    "MaxGridDimX": 5,
    "MaxGridDimY": 6,
    "MaxGridDimZ": 7,
    "MaxSharedMemoryPerBlock": 8,
    "WarpSize": 10,
    "MaxRegistersPerBlock": 12,
    "ClockRate": 13,
    "MultiProcessorCount": 16,
    "ConcurrentKernels": 31,
    "PciBusId": 33,
    "MemoryClockRate": 36,
    "GlobalMemoryBusWidth": 37,
    "L2CacheSize": 38,
    "MaxThreadsPerMultiProcessor": 39,
    "AsyncEngineCount": 40,
    "PciDomainId": 50,
    "MaxSharedMemoryPerMultiprocessor": 81,
    "MaxSharedMemoryPerBlockOptin": 97,
}


class CUDADriverError(RuntimeError):
    """An error of the driver, with CUDA's number in `status`."""

    def __init__(self, status: int) -> None:
        self.status = status
        name, text = ctypes.c_char_p(), ctypes.c_char_p()
        library = _standin.control().library
        library.cuGetErrorName(status, ctypes.byref(name))
        library.cuGetErrorString(status, ctypes.byref(text))
        super().__init__(f"{(name.value or b'error').decode()}: {(text.value or str(status).encode()).decode()}")


def _call(symbol: str, *arguments: Any) -> None:
    status = getattr(_standin.control().library, symbol)(*arguments)
    if status:
        raise CUDADriverError(status)


def _number(symbol: str, *arguments: Any) -> int:
    value = ctypes.c_int()
    _call(symbol, ctypes.byref(value), *arguments)
    return value.value


def _handle(symbol: str, *arguments: Any) -> int:
    value = ctypes.c_void_p()
    _call(symbol, ctypes.byref(value), *arguments)
    return value.value or 0


def _current() -> int:
    """The context of this thread, 0 for none. As in CUDA's runtime, any call initializes the driver."""
    _call("cuInit", 0)
    return _handle("cuCtxGetCurrent")


def _make_current(context: int) -> None:
    _call("cuCtxSetCurrent", ctypes.c_void_p(context or None))


def _device_of_this_thread() -> int:
    """0 where none was chosen, and then it is."""
    current = _current()
    for device in range(_number("cuDeviceGetCount")):
        if current == _handle("cuDevicePrimaryCtxRetain", device):
            return device
    Device(0).use()
    return 0


class Device:
    """A GPU; a context manager that makes it this thread's."""

    _entered = threading.local()

    def __init__(self, device: int | None = None) -> None:
        self.id = _device_of_this_thread() if device is None else int(device)

    def use(self) -> None:
        _current()
        _make_current(_handle("cuDevicePrimaryCtxRetain", self.id))

    def __enter__(self) -> Device:
        before = _current()
        self.use()
        self._stack().append(before)
        return self

    def __exit__(self, *args: object) -> None:
        _make_current(self._stack().pop())

    def _stack(self) -> list[int]:
        if not hasattr(self._entered, "stack"):
            self._entered.stack = []
        return self._entered.stack

    def synchronize(self) -> None:
        with self:
            _call("cuCtxSynchronize")

    @property
    def compute_capability(self) -> str:
        _call("cuInit", 0)
        return "".join(str(_number("cuDeviceGetAttribute", number, self.id)) for number in (75, 76))

    @property
    def attributes(self) -> dict[str, int]:
        _call("cuInit", 0)
        return {name: _number("cuDeviceGetAttribute", number, self.id) for name, number in _ATTRIBUTES.items()}

    @property
    def pci_bus_id(self) -> str:
        _call("cuInit", 0)
        name = ctypes.create_string_buffer(13)
        _call("cuDeviceGetPCIBusId", name, len(name), self.id)
        return name.value.decode()

    @property
    def mem_info(self) -> tuple[int, int]:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        with self:
            _call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value


class _Owner:
    """Has a handle of the driver's, which is destroyed with it: calls with the handle fail from then on."""

    _destroy = ""
    ptr = 0

    def __del__(self) -> None:
        if self.ptr and not sys.is_finalizing():
            _device_of_this_thread()  # as CUDA's runtime, which CuPy calls here, would choose one
            getattr(_standin.control().library, self._destroy)(ctypes.c_void_p(self.ptr))


class Stream(_Owner):
    """A queue of the current device's. The stand-in has those alone that do not wait for the default stream."""

    _destroy = "cuStreamDestroy_v2"

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        if null or ptds or priority is not None or not non_blocking:
            raise NotImplementedError("the stand-in has only Stream(non_blocking=True)")
        _device_of_this_thread()
        self.ptr = _handle("cuStreamCreate", _NON_BLOCKING)

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.ptr

    def synchronize(self) -> None:
        _call("cuStreamSynchronize", ctypes.c_void_p(self.ptr))

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        _call("cuEventRecord", ctypes.c_void_p(event.ptr), ctypes.c_void_p(self.ptr))
        return event

    def wait_event(self, event: Event) -> None:
        _call("cuStreamWaitEvent", ctypes.c_void_p(self.ptr), ctypes.c_void_p(event.ptr), ctypes.c_uint(0))


class Event(_Owner):
    """A place in a stream that others wait for."""

    _destroy = "cuEventDestroy_v2"

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        if interprocess:
            raise NotImplementedError("the stand-in's events belong to one process")
        _device_of_this_thread()
        self.ptr = _handle("cuEventCreate", _BLOCK * block | _NO_TIMING * disable_timing)

    def synchronize(self) -> None:
        _call("cuEventSynchronize", ctypes.c_void_p(self.ptr))


class Function:
    """A kernel of a module."""

    def __init__(self, module: Module, funcname: str) -> None:
        self.module = module  # as long as the function is there
        self.ptr = _handle("cuModuleGetFunction", ctypes.c_void_p(module.ptr), funcname.encode())


class Module(_Owner):
    """A compiled image of kernels."""

    _destroy = "cuModuleUnload"

    def load(self, cubin: bytes) -> None:
        _device_of_this_thread()
        self.ptr = _handle("cuModuleLoadData", cubin)

    def get_function(self, name: str) -> Function:
        return Function(self, name)


class OutOfMemoryError(MemoryError):
    """An allocator had no memory."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        so_far = f"allocated so far: {total:,} bytes" + (f", limit set to: {limit:,} bytes" if limit else "")
        super().__init__(f"Out of memory allocating {size:,} bytes ({so_far}).")


class CFunctionAllocatorMemory:
    """Memory that a function of C gave, and another one takes back."""

    def __init__(self, size: int, param: int, malloc_func: int, free_func: int, device_id: int) -> None:
        self.size, self.device_id, self.ptr = size, device_id, 0
        self._param = param
        self._free = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)(free_func)
        if size > 0:
            parameters = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
            malloc = ctypes.PYFUNCTYPE(ctypes.c_void_p, *parameters)(malloc_func)  # with the GIL, as CuPy calls it
            self.ptr = malloc(param, size, device_id) or 0

    def __del__(self) -> None:
        if self.ptr:
            self._free(self._param, self.ptr, self.device_id)


class MemoryPointer:
    """A place in memory, which it keeps."""

    def __init__(self, mem: Any, offset: int) -> None:
        assert mem.ptr or not offset
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id


class CFunctionAllocator:
    """Allocates by functions of C. Without memory it gives a pointer to nothing, as CuPy's does."""

    def __init__(self, param: int, malloc_func: int, free_func: int, owner: object) -> None:
        self._functions, self._owner = (param, malloc_func, free_func), owner

    def malloc(self, size: int) -> MemoryPointer:
        return MemoryPointer(CFunctionAllocatorMemory(size, *self._functions, Device().id), 0)


_allocator: Any = None


def _set_allocator(allocator: Any = None) -> None:
    global _allocator
    _allocator = allocator


def _alloc(size: int) -> MemoryPointer:
    if _allocator is None:
        raise NotImplementedError("the stand-in allocates by the allocator that was set")
    return _allocator(size)


class UnownedMemory:
    """Memory of another library's, whose owner it keeps."""

    def __init__(self, ptr: int, size: int, owner: object, device_id: int = -1) -> None:
        self.ptr, self.size, self.owner, self.device_id = ptr, size, owner, device_id


class ndarray:  # noqa: N801  # as CuPy has it
    """An array over memory of a GPU. The stand-in's can only be read."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, memptr: MemoryPointer, strides: Any = None) -> None:
        self.shape, self.dtype, self.data = shape, np.dtype(dtype), memptr
        packed = [self.dtype.itemsize * math.prod(shape[d + 1 :]) for d in range(len(shape))]
        self.strides = tuple(packed if strides is None else strides)

    def get(self, stream: Stream | None = None) -> np.ndarray:
        """A copy in the host's memory, of dense arrays alone."""
        values = np.empty(self.shape, self.dtype)
        if self.strides != values.strides and values.size:
            raise NotImplementedError("the stand-in reads dense arrays")
        stream = Stream(non_blocking=True) if stream is None else stream
        if values.nbytes:
            to, source = ctypes.c_void_p(values.ctypes.data), ctypes.c_uint64(self.data.ptr)
            _call("cuMemcpyDtoHAsync_v2", to, source, ctypes.c_size_t(values.nbytes), ctypes.c_void_p(stream.ptr))
        stream.synchronize()
        return values


def asarray(a: Any) -> ndarray:
    """An array over the memory that `a` shows by the CUDA array interface, which is held against its third version."""
    shown = a.__cuda_array_interface__
    shape, (address, read_only), version = shown["shape"], shown["data"], shown["version"]
    strides, stream = shown.get("strides"), shown.get("stream")
    if version != 3 or type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"version {version} with the shape {shape!r}")
    if type(address) is not int or type(read_only) is not bool:
        raise ValueError(f"data are an address and whether it is only to be read, not {shown['data']!r}")
    if shown.get("mask") is not None:
        raise ValueError("masked arrays are not supported")
    dtype = np.dtype(shown["typestr"])
    if strides is not None and (type(strides) is not tuple or len(strides) != len(shape)):
        raise ValueError(f"strides {strides!r} for the shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if bool(address) is not bool(size):
        raise ValueError(f"address {address} for {size} bytes")
    if stream is not None:  # what the producer has queued there comes first
        if type(stream) is not int or not stream:
            raise ValueError(f"stream {stream!r}: None, 1, 2 or a handle")
        _call("cuStreamSynchronize", ctypes.c_void_p(stream))
    memory = UnownedMemory(address, size, a, Device().id)
    return ndarray(shape, dtype, MemoryPointer(memory, 0), strides)


def _get_device_count() -> int:
    _call("cuInit", 0)
    return _number("cuDeviceGetCount")


def _driver_get_version() -> int:
    return _number("cuDriverGetVersion")


cuda = SimpleNamespace(
    Device=Device,
    Event=Event,
    Stream=Stream,
    alloc=_alloc,
    set_allocator=_set_allocator,
    driver=SimpleNamespace(CUDADriverError=CUDADriverError),
    function=SimpleNamespace(Function=Function, Module=Module),
    memory=SimpleNamespace(
        CFunctionAllocator=CFunctionAllocator,
        MemoryPointer=MemoryPointer,
        OutOfMemoryError=OutOfMemoryError,
        UnownedMemory=UnownedMemory,
    ),
    runtime=SimpleNamespace(getDeviceCount=_get_device_count, driverGetVersion=_driver_get_version),
)
