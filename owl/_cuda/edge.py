"""Where owl meets CuPy, and the only file that imports it.

CuPy makes streams, events and modules, when a device is created; their raw handles go to the executor, whose
threads use them without Python. All that is made here is kept for ever: at exit and after an error of the device there
is nothing to destroy.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from owl._cuda import nvml

EVENTS = 64  # of each stream: as many runs, or copies, can be under way


@dataclass(frozen=True)
class OpenedGpu:
    """What CuPy holds for one device."""

    device: Any
    compute: Any  # the stream that kernels run on
    copy: Any
    compute_events: list[Any]
    copy_events: list[Any]
    modules: list[Any]
    functions: list[Any]  # in the order of the catalogue


def driver_library() -> str:
    """The library that has the driver's functions."""
    if not nvml.standin():
        return "libcuda.so.1"
    from owl.testing import _standin

    return str(_standin.library())


def cupy() -> Any:
    """CuPy, or the part of it that the stand-in has."""
    if nvml.standin():
        from owl.testing._standin import cupy as standin_cupy

        return standin_cupy
    import cupy as real_cupy

    return real_cupy


def _images(capability: str) -> list[bytes]:
    if nvml.standin():
        from owl.testing import _standin

        return [_standin.module_image()]
    from owl._cuda import catalogue

    return catalogue.cubins(int(capability))


def kernel_image(text: str, kernel: str, gpu: OpenedGpu) -> bytes:
    """The code of one kernel that is no part of the catalogue, compiled unless the disk keeps it."""
    if nvml.standin():
        from owl.testing import _standin

        return _standin.kernel_image(text, kernel)
    from owl._cuda import catalogue

    return catalogue.cubin_of(text, kernel, int(gpu.device.compute_capability))


def add_kernel(image: bytes, kernel: str, gpu: OpenedGpu) -> Any:
    """The kernel of an image, loaded for a device and kept with it. The calling thread keeps its own context."""
    library = cupy()
    with library.cuda.Device(gpu.device.id):
        module = library.cuda.function.Module()
        module.load(image)
        function = module.get_function(kernel)
    gpu.modules.append(module)
    return function


def cancel_compiling() -> None:
    """At the end of the program: a compiler of the stand-in's that is under way ends. NVRTC cannot be interrupted."""
    if nvml.standin():
        from owl.testing._standin import building

        building.cancel()


def open_gpu(index: int) -> OpenedGpu:
    """Streams, events and kernels for a device of this GPU."""
    from owl._cuda import catalogue
    from owl._runtime import DeviceError

    cuda = cupy().cuda
    device = cuda.Device(index)
    try:
        with device:
            compute, copy = (cuda.Stream(non_blocking=True) for _ in range(2))
            events = [cuda.Event(block=True, disable_timing=True) for _ in range(2 * EVENTS)]
            modules = []
            for image in _images(device.compute_capability):
                module = cuda.function.Module()
                module.load(image)
                modules.append(module)
            # All of them now: the first use of a kernel that is not loaded yet would wait for all that runs.
            functions = [_find(modules, name) for name in catalogue.KERNELS]
    except DeviceError:
        raise
    except Exception as error:  # CuPy's own, of several kinds
        raise DeviceError(str(error)) from error
    return OpenedGpu(device, compute, copy, events[:EVENTS], events[EVENTS:], modules, functions)


def _find(modules: list[Any], name: str) -> Any:
    for module in modules[:-1]:
        with contextlib.suppress(Exception):  # another one's
            return module.get_function(name)
    return modules[-1].get_function(name)
