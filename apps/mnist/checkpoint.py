"""Parameters in a safetensors file, with the net they belong to."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from owl.apps.mnist.errors import CheckpointError
from owl.apps.mnist.files import FileRefused, refuse_irregular, writable_target, write_whole

Arrays = dict[str, NDArray[Any]]


# Widened exactly: a half is a float32, and a bfloat16 is the upper half of one.
_WIDENED: dict[str, Callable[[bytearray], NDArray[np.floating]]] = {
    "F64": lambda data: np.frombuffer(data, "<f8").astype(np.float64),
    "F32": lambda data: np.frombuffer(data, "<f4").astype(np.float32),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float32),
    "BF16": lambda data: (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32),
}
_MOST_HEADER = 1 << 20  # bytes; a header of these few arrays has some hundred
_MOST_ITEM = 8


def check_target(path: Path) -> None:
    """Raise CheckpointError if a file at ``path`` cannot be written: better before the training than after it."""
    _need_safetensors(path)
    try:
        writable_target(path)
    except FileRefused as refusal:
        raise CheckpointError(f"{path}: {refusal}") from None


def save(path: Path, net: str, arrays: Arrays) -> None:
    """Write ``arrays`` aside and move the file to ``path``, so that a whole file stands there at any time.

    The metadata hold ``net`` and, as JSON, the shape of each array in NumPy's order. Symbolic links are followed;
    raises CheckpointError for a device, a pipe, or anything else that is no regular file.
    """
    _need_safetensors(path)
    from safetensors.numpy import save as to_bytes

    shapes = json.dumps({name: list(array.shape) for name, array in arrays.items()})
    content = to_bytes(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"net": net, "shapes": shapes}
    )
    try:
        write_whole(path, content)
    except FileRefused as refusal:
        raise CheckpointError(f"{path}: {refusal}") from None


def load(path: Path, net: str, shapes: Mapping[str, Sequence[int]]) -> Arrays:
    """Read the arrays of ``net``, whose NumPy shapes are ``shapes``: float64 as they are, float32, float16 and bfloat16
    as float32.

    Raises CheckpointError, naming file and reason, for a file that is truncated, corrupt or another net's.
    """
    _need_safetensors(path)
    from safetensors import SafetensorError, deserialize

    content = _read(path, shapes)
    try:
        tensors = dict(deserialize(content))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated, corrupt or not a safetensors file: {error}") from None
    found = _metadata(content).get("net")
    if found != net:
        holds = f"the net {found!r}" if found else "no net of this program"
        raise CheckpointError(f"{path}: holds {holds}, expected {net!r}")
    _check(path, tensors, shapes)
    return {
        name: _WIDENED[tensors[name]["dtype"]](tensors[name]["data"]).reshape(shape) for name, shape in shapes.items()
    }


def _read(path: Path, shapes: Mapping[str, Sequence[int]]) -> bytes:
    """The file, unless it is larger than these arrays can be."""
    most = _MOST_HEADER + _MOST_ITEM * sum(math.prod(shape) for shape in shapes.values())
    try:
        refuse_irregular(path.stat().st_mode)
        with open(path, "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
    except FileRefused as refusal:
        raise CheckpointError(f"{path}: {refusal}") from None
    if len(content) > most:
        raise CheckpointError(f"{path}: larger than the arrays of this net, which take at most {most} bytes")
    return content


def _metadata(content: bytes) -> dict[str, str]:
    """Of a file that safetensors has accepted: after the length of the header, the header, which is JSON."""
    (length,) = struct.unpack_from("<Q", content)
    return json.loads(content[8 : 8 + length]).get("__metadata__") or {}


def _check(path: Path, tensors: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
    if tensors.keys() != shapes.keys():
        raise CheckpointError(f"{path}: expected the arrays {sorted(shapes)}, the file has {sorted(tensors)}")
    for name, shape in shapes.items():
        kind, found = tensors[name]["dtype"], list(tensors[name]["shape"])
        if kind not in _WIDENED or found != list(shape):
            raise CheckpointError(f"{path}: {name} is {kind} {found}, expected F64, F32, F16 or BF16 {list(shape)}")


def _need_safetensors(path: Path) -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError:
        raise CheckpointError(f"{path}: checkpoints need safetensors: pip install 'owl-runtime[apps]'") from None
