"""owl: an array runtime for training neural networks in which every array can be awaited.

>>> import owl
>>> x = owl.ones([2, 3])
>>> (x * 2 + 1).to_numpy()
array([[3., 3.],
       [3., 3.],
       [3., 3.]], dtype=float32)
"""

from pkgutil import extend_path as _extend_path
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

__path__ = _extend_path(__path__, __name__)  # run from a checkout's root, an installed extension is found too

from owl import conv, elewise, optim
from owl._config import initialize, memory_info, show_config
from owl._explain import explain
from owl._gradients import custom_vjp, grad, remat, stop_gradient, value_and_grad, vjp
from owl._runtime import (
    AxisError,
    Device,
    DeviceError,
    DTypeError,
    ExecutionError,
    NArray,
    OutOfMemoryError,
    OwlError,
    OwlIndexError,
    OwlOverflowError,
    OwlRuntimeError,
    OwlTypeError,
    OwlValueError,
    ShapeError,
    arange,
    concat,
    create_cpu_device,
    create_gpu_device,
    from_dlpack,
    from_numpy,
    full,
    get_device,
    get_gpu_device_count,
    get_matmul_precision,
    get_num_threads,
    has_cuda,
    one_hot,
    ones,
    pad,
    randb,
    randn,
    random_stream,
    randu,
    seed,
    set_device,
    set_matmul_precision,
    set_num_threads,
    stack,
    take,
    wait_for_all,
    zeros,
)
from owl._runtime import slice_ as slice
from owl._version import __version__

__all__ = [
    "AxisError",
    "DTypeError",
    "Device",
    "DeviceError",
    "ExecutionError",
    "NArray",
    "OutOfMemoryError",
    "OwlError",
    "OwlIndexError",
    "OwlTypeError",
    "OwlOverflowError",
    "OwlRuntimeError",
    "OwlValueError",
    "ShapeError",
    "__version__",
    "arange",
    "concat",
    "conv",
    "create_cpu_device",
    "create_gpu_device",
    "custom_vjp",
    "elewise",
    "explain",
    "from_dlpack",
    "from_numpy",
    "full",
    "get_device",
    "get_gpu_device_count",
    "get_matmul_precision",
    "get_num_threads",
    "grad",
    "has_cuda",
    "initialize",
    "load",
    "load_metadata",
    "memory_info",
    "one_hot",
    "ones",
    "optim",
    "pad",
    "randb",
    "randn",
    "randu",
    "random_stream",
    "remat",
    "save",
    "seed",
    "set_device",
    "set_matmul_precision",
    "set_num_threads",
    "show_config",
    "slice",
    "stack",
    "stop_gradient",
    "take",
    "value_and_grad",
    "vjp",
    "wait_for_all",
    "zeros",
]

if _TYPE_CHECKING:
    from owl._files.save_load import load, load_metadata, save
else:

    def __getattr__(name: str) -> _Any:
        """The functions for files: what they import takes as long as all of owl, and few programs need it at once."""
        if name not in ("load", "load_metadata", "save"):
            raise AttributeError(f"module 'owl' has no attribute {name!r}")
        from owl._files import save_load

        globals().update({name: getattr(save_load, name) for name in ("load", "load_metadata", "save")})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
