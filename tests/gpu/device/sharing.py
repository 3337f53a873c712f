"""Another library on the stand-in's GPU, for programs: with a stream and memory of its own, and DLPack by ctypes."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from owl.testing import _standin
from owl.testing._standin import cupy

CUDA, FLOAT, READ_ONLY = 2, 2, 1


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("kind", ctypes.c_int32),
        ("number", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", Deleter)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


KINDS = {b"dltensor": Managed, b"dltensor_versioned": Versioned}


def _python(name: str, result: Any, *parameters: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, *parameters)((name, ctypes.pythonapi))


_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer = _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
_rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_capsule = _python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Library:
    """What a library has once: a stream, and calls of the driver."""

    def __init__(self, device: int = 0) -> None:
        self.driver = _standin.control().library
        self.device = cupy.cuda.Device(device)
        with self.device:
            self.stream = cupy.cuda.Stream(non_blocking=True)

    def call(self, symbol: str, *arguments: Any) -> None:
        given = [ctypes.c_uint64(x) if type(x) is int else x for x in arguments]
        with self.device:
            status = getattr(self.driver, symbol)(*given)
        assert status == 0, (symbol, status)

    def allocate(self, bytes: int) -> int:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), max(bytes, 1))
        return address.value

    def copy(self, to: int, source: int, bytes: int) -> None:
        """Queues a copy on the library's stream."""
        with self.device:
            context = ctypes.c_uint64()
            assert self.driver.cuCtxGetCurrent(ctypes.byref(context)) == 0
        self.call("cuMemcpyPeerAsync", to, context.value, source, context.value, bytes, self.stream.ptr)

    def wait(self) -> None:
        self.call("cuStreamSynchronize", self.stream.ptr)

    def array(self, values: np.ndarray) -> Array:
        return Array(self, values)

    def from_dlpack(self, x: Any, max_version: tuple[int, int] | None = (1, 0)) -> View:
        return View(self, x.__dlpack__(stream=self.stream.ptr, max_version=max_version))


class View:
    """What another library made of a capsule of owl's."""

    def __init__(self, library: Library, capsule: Any) -> None:
        [name] = [name for name in KINDS if _is_valid(capsule, name)]
        self.address = _pointer(capsule, name)
        self.managed = KINDS[name].from_address(self.address)
        self._name = b"used_" + name
        _rename(capsule, self._name)
        self.library = library
        tensor = self.managed.tensor
        self.data, self.place = tensor.data, (tensor.kind, tensor.number)
        self.shape = tuple(tensor.shape[d] for d in range(tensor.ndim))
        self.strides = tuple(tensor.strides[d] for d in range(tensor.ndim))
        self.elements = (tensor.code, tensor.bits, tensor.lanes)
        self.flags = self.managed.flags if name == b"dltensor_versioned" else None
        self.bytes = math.prod(self.shape) * tensor.bits // 8

    def queue_copy(self) -> Copy:
        """What the view shows when the library's stream comes to it: it is only queued."""
        return Copy(self.library, self.data, self.shape, self.bytes)

    def release(self) -> None:
        self.managed.deleter(self.address)


class Copy:
    """A copy that is queued."""

    def __init__(self, library: Library, source: int, shape: tuple[int, ...], bytes: int) -> None:
        self.library, self.shape, self.bytes = library, shape, bytes
        self.to = library.allocate(bytes)
        library.copy(self.to, source, bytes)

    def numbers(self) -> np.ndarray:
        found = np.empty(self.shape, np.float32)
        self.library.call("cuMemcpyDtoHAsync_v2", found.ctypes.data, self.to, found.nbytes, self.library.stream.ptr)
        self.library.wait()
        return found


class Array:
    """An array of the library's own; what fills it is only queued."""

    versioned = True
    ordered = True  # it lets the consumer's stream wait for its own, as the protocol wants
    made: list[Any] = []  # tensors are there for as long as the program: others hold their addresses

    def __init__(self, library: Library, values: np.ndarray) -> None:
        self.library, self.shape, self.bits = library, values.shape, values.dtype.itemsize * 8
        self.strides = tuple(stride // values.dtype.itemsize for stride in values.strides)
        self.code = {"f": FLOAT, "i": 0}[values.dtype.kind]
        self.bytes, self.offset, self.asked = values.nbytes, 0, []
        self.deleted = 0
        staged = library.allocate(self.bytes)
        self.data = library.allocate(self.bytes)
        flat = np.lib.stride_tricks.as_strided(values, (values.size,), (values.dtype.itemsize,)).copy()
        library.call("cuMemcpyHtoDAsync_v2", staged, flat.ctypes.data, flat.nbytes, library.stream.ptr)
        library.copy(self.data, staged, self.bytes)

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.library.device.id

    def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None) -> Any:
        if max_version is not None and not self.versioned:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.asked.append(stream)
        if self.ordered:
            with self.library.device:
                event = self.library.stream.record()
            self.library.call("cuStreamWaitEvent", stream, event.ptr, ctypes.c_uint(0))
        return self._capsule(b"dltensor_versioned" if self.versioned else b"dltensor")

    def _capsule(self, name: bytes) -> Any:
        kind = KINDS[name]
        managed = kind()
        if kind is Versioned:
            managed.major = 1
        tensor = managed.tensor
        tensor.data, tensor.kind, tensor.number = self.data, CUDA, self.library.device.id
        tensor.ndim, tensor.code, tensor.bits, tensor.lanes = len(self.shape), self.code, self.bits, 1
        tensor.shape = (ctypes.c_int64 * len(self.shape))(*self.shape)
        tensor.strides = (ctypes.c_int64 * len(self.shape))(*self.strides)
        tensor.byte_offset = self.offset

        def delete(_: int) -> None:
            self.deleted += 1

        managed.deleter = Deleter(delete)
        Array.made.append((self, managed))
        return _capsule(ctypes.addressof(managed), name, None)

    def overwrite(self) -> None:
        """Queues a write, as a library does that uses the memory for something else."""
        self.library.copy(self.data, self.library.allocate(self.bytes), self.bytes)
