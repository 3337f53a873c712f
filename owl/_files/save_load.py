"""`owl.save`, `owl.load` and `owl.load_metadata`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owl import _runtime
from owl._files import format as files
from owl._files.names import is_text, names_of, nest_of
from owl._files.whole import FileRefused, write_whole
from owl._runtime import Device, DTypeError, NArray, OwlRuntimeError, OwlTypeError, OwlValueError, from_numpy

_PathLike = str | os.PathLike[str]
_MOST_DIMENSIONS = 8


def save(path: _PathLike, nest: Any, /, **metadata: str) -> None:
    """Writes the arrays of a nest into a file in the format of safetensors.

    The values are computed first. The file is written aside and moved into place, so that the old file or the whole
    new one is there at any time, also after a crash; a symbolic link is followed.

    Parameters
    ----------
    path : str or path
        The file, which is replaced if it exists.
    nest : dict, list, tuple, NamedTuple or dataclass
        Arrays, or such containers of arrays, float32 or float64, of any device. Keys are strings without a dot:
        ``{"layers": [{"w": x}]}`` is stored as ``layers.0.w``. No container may be empty.
    **metadata : str
        Strings to keep beside the arrays: `load_metadata` gives them.

    Raises
    ------
    owl.OwlValueError, owl.OwlTypeError
        If the nest holds anything that a file cannot, or if `path` is no regular file; nothing is computed or written.
    owl.ExecutionError
        If a value could not be computed; nothing is written.
    OSError
        If the file cannot be written; the old one is still there.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> owl.save(folder.name + "/net", {"layers": [{"w": owl.ones([3, 2])}]}, step="7")
    >>> owl.load(folder.name + "/net")["layers"][0]["w"].shape
    [3, 2]
    >>> owl.load_metadata(folder.name + "/net")
    {'step': '7'}
    >>> folder.cleanup()
    """
    arrays = checked(nest, metadata)
    # Of this moment, and requested together: the first to be read waits for the one plan that computes them all.
    values = {name: _runtime.value_on_host(array) for name, array in arrays.items()}
    _runtime.evaluate_together(values.values())
    write(path, values, metadata)


def load(path: _PathLike, device: int | None = None) -> Any:
    """Reads the arrays of a safetensors file, of `save`'s or another program's.

    A name ``layers.0.w`` is that of an array in dicts: dots separate keys. A dict whose keys are the numbers 0 to n-1
    becomes a list. The keys of a dict are in alphabetical order. Shapes are reversed, as `from_numpy` does.

    Parameters
    ----------
    path : str or path
        The file.
    device : Device or int, optional
        Where the arrays live; by default the current device.

    Returns
    -------
    dict or list
        float64 arrays as they are; float32, float16 and bfloat16 arrays as float32.

    Raises
    ------
    owl.OwlValueError
        If the file is truncated, corrupt, or no safetensors file, or if an array has more than 8 dimensions.
    owl.DTypeError
        If an array is of another dtype, such as whole numbers; the error names it.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     owl.save(folder + "/pair", (owl.zeros([2]), owl.ones([2])))
    ...     first, second = owl.load(folder + "/pair")
    >>> second.to_numpy()
    array([1., 1.], dtype=float32)
    """
    with on(device):
        return nest_of({name: borrowed(array) for name, array in read(path).items()})


def load_metadata(path: _PathLike) -> dict[str, str]:
    """The strings that `save` kept beside the arrays; reads the beginning of the file only.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     owl.save(folder + "/net", {"w": owl.ones([2])}, net="mlp", step="100")
    ...     owl.load_metadata(folder + "/net") == {"net": "mlp", "step": "100"}
    True
    """
    return told("load_metadata", path, lambda: files.read_header(Path(path))).metadata


def checked(nest: Any, metadata: Mapping[str, Any]) -> dict[str, NArray]:
    """The arrays of a nest by name, if a file can hold it and the metadata."""
    for name, value in metadata.items():
        if not isinstance(value, str):
            raise OwlTypeError(f"[save] metadata {name!r} must be a string, not {type(value).__name__}")
        if not (is_text(name) and is_text(value)):
            raise OwlValueError(f"[save] metadata {name!r} is no text that UTF-8 can encode")
    return names_of(nest)


def write(
    path: _PathLike,
    values: Mapping[str, NArray],
    metadata: Mapping[str, str],
    wanted: Callable[[], bool] | None = None,
) -> None:
    """Write values, which are computed first, unless `wanted` says no meanwhile."""
    if wanted is not None and not wanted():
        return
    arrays = {name: value.to_numpy() for name, value in values.items()}
    told("save", path, lambda: write_whole(Path(path), files.to_bytes(arrays, metadata), wanted))


def read(path: _PathLike) -> dict[str, NDArray[np.floating]]:
    """The arrays of a file, which owl may borrow; all of them, or an error."""

    def check(header: files.Header) -> None:
        nest_of(header.tensors)
        for name, (dtype, shape) in header.tensors.items():
            if dtype not in files.WIDENED:
                raise DTypeError(f"[load] {path}: {name} is {dtype}; owl computes with F64, F32, F16 and BF16")
            if len(shape) > _MOST_DIMENSIONS:
                raise files.FileInvalid(f"{name} has {len(shape)} dimensions, more than {_MOST_DIMENSIONS}")

    return told("load", path, lambda: files.read(Path(path), check))[0]


def borrowed(array: NDArray[np.floating]) -> NArray:
    """An array of owl's, over the same memory where that is possible: `read` has left it to owl."""
    return from_numpy(array, array.dtype, copy=None)


def on(device: int | None) -> AbstractContextManager[Any]:
    """Makes a device, or its number, the current one."""
    return nullcontext() if device is None else Device(device)


def told(caller: str, path: _PathLike, act: Callable[[], Any]) -> Any:
    """The result of `act`, whose errors name the file."""
    try:
        return act()
    except FileRefused as refusal:
        cause = refusal.__cause__
        if isinstance(cause, OSError):
            raise OSError(cause.errno, f"[{caller}] {refusal}", os.fspath(path)) from None
        raise OwlValueError(f"[{caller}] {path}: {refusal}") from None
    except files.NeedsSafetensors:
        text = f"[{caller}] files of arrays need safetensors: pip install 'owl-runtime[files]'"
        raise OwlRuntimeError(text) from None
    except (files.FileInvalid, ValueError) as problem:
        if isinstance(problem, _runtime.OwlError):
            raise
        raise OwlValueError(f"[{caller}] {path}: {problem}") from None
