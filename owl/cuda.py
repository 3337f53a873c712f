"""What owl shares with other libraries of CUDA's: its memory for CuPy's arrays.

Values cross by `owl.from_dlpack`, ``x.__dlpack__()`` and ``x.__cuda_array_interface__``; streams by ``device.stream``,
which has ``__cuda_stream__``.
"""

from __future__ import annotations

from typing import Any

from owl import _runtime
from owl._cuda import edge

__all__ = ["share_memory"]


def share_memory() -> None:
    """Lets CuPy allocate its arrays from owl's memory, so that neither library keeps memory that the other one lacks.

    It sets CuPy's allocator for the whole process. An array of CuPy's lies in the memory of the first owl device of its
    GPU, which is created when it is first needed, and counts in `owl.memory_info` of that device. Memory of an array
    that is gone is used again when all that was queued on the GPU is over: that is waited for when memory is short, or
    when there is more than 64 MiB of it. Arrays that CuPy has allocated before keep their memory.

    Does not evaluate. Any thread may call it, and again. Allocating waits, with the GIL, until the device's thread has
    launched the plan in hand.

    Raises
    ------
    owl.DeviceError
        If CuPy is missing. A GPU that owl cannot use is an error where CuPy allocates on it.

    Examples
    --------
    >>> import owl.cuda
    >>> owl.cuda.share_memory()  # doctest: +SKIP
    >>> import cupy  # doctest: +SKIP
    >>> x = cupy.zeros((1000, 1000))  # doctest: +SKIP

    """
    try:
        cuda = edge.cupy().cuda
    except ImportError as error:
        raise _runtime.DeviceError(
            "[share_memory] CuPy is missing: pip install 'owl-runtime[cuda13]' or 'owl-runtime[cuda12]'"
        ) from error
    allocator = cuda.memory.CFunctionAllocator(0, *_runtime.lending_functions(), None)

    def allocate(size: int) -> Any:
        device = _runtime.lending_device(cuda.Device().id)
        pointer = allocator.malloc(size)
        if size and not pointer.ptr:
            memory = _runtime.memory_info(device)
            raise cuda.memory.OutOfMemoryError(size, memory["in_use"], memory["limit"])
        return pointer

    cuda.set_allocator(allocate)
