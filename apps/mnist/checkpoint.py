"""Parameters in a safetensors file, with the net they belong to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from owl.apps.mnist.errors import CheckpointError

Arrays = dict[str, NDArray[np.float32]]


def check_target(path: Path) -> None:
    """Raise CheckpointError if a file at ``path`` cannot be written: better before the training than after it."""
    _need_safetensors(path)
    folder = path.parent
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder")
    if not folder.is_dir():
        raise CheckpointError(f"{path}: no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise CheckpointError(f"{path}: the folder {folder} is not writable")


def save(path: Path, net: str, arrays: Arrays) -> None:
    """Write ``arrays`` aside and move the file to ``path``, so that a whole file stands there at any time.

    The metadata hold ``net`` and, as JSON, the shape of each array in NumPy's order.
    """
    _need_safetensors(path)
    from safetensors.numpy import save as to_bytes

    shapes = json.dumps({name: list(array.shape) for name, array in arrays.items()})
    content = to_bytes(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"net": net, "shapes": shapes}
    )
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path, net: str, shapes: Mapping[str, Sequence[int]]) -> Arrays:
    """Read the arrays of ``net``, whose NumPy shapes are ``shapes``.

    Raises CheckpointError, naming file and reason, for a file that is truncated, corrupt or another net's.
    """
    _need_safetensors(path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated, corrupt or not a safetensors file: {error}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    found = metadata.get("net")
    if found != net:
        holds = f"the net {found!r}" if found else "no net of this program"
        raise CheckpointError(f"{path}: holds {holds}, expected {net!r}")
    _check(path, arrays, shapes)
    return arrays


def _check(path: Path, arrays: Arrays, shapes: Mapping[str, Sequence[int]]) -> None:
    if arrays.keys() != shapes.keys():
        raise CheckpointError(f"{path}: expected the arrays {sorted(shapes)}, the file has {sorted(arrays)}")
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype not in (np.float32, np.float64) or array.shape != tuple(shape):
            raise CheckpointError(
                f"{path}: {name} is {array.dtype} {list(array.shape)}, expected float32 or float64 {list(shape)}"
            )


def _need_safetensors(path: Path) -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError:
        raise CheckpointError(f"{path}: checkpoints need safetensors: pip install 'owl-runtime[apps]'") from None
