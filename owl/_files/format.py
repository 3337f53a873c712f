"""Files of safetensors: a length, a header of JSON with names, dtypes, shapes and offsets, then the numbers."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from owl._files.whole import FileRefused, refuse_irregular

# Widened exactly: a half is a float32, and a bfloat16 is the upper half of one.
WIDENED: dict[str, Callable[[bytearray], NDArray[np.floating]]] = {
    "F64": lambda data: np.frombuffer(data, "<f8"),
    "F32": lambda data: np.frombuffer(data, "<f4"),
    "F16": lambda data: np.frombuffer(data, "<f2").astype(np.float32),
    "BF16": lambda data: (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32),
}
_MOST_HEADER = 100_000_000  # bytes: safetensors' own bound


class FileInvalid(Exception):
    """A file is no whole safetensors file; the message says why, without the path."""


class NeedsSafetensors(Exception):
    """The library is not installed."""


@dataclass(frozen=True)
class Header:
    """The dtype, in safetensors' words, and the shape of each array; the metadata."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]


def need_safetensors() -> None:
    """Raise NeedsSafetensors where it is not installed."""
    try:
        import safetensors.numpy  # noqa: F401
    except ImportError:
        raise NeedsSafetensors from None


def to_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The content of a file with these arrays."""
    need_safetensors()
    from safetensors.numpy import save

    return save({name: np.asarray(array, order="C") for name, array in arrays.items()}, dict(metadata) or None)


def read_header(path: Path) -> Header:
    """The header alone. Raises FileInvalid, FileRefused for anything but a regular file, or OSError."""
    with _opened(path) as file:
        return _header(file)


def read(path: Path, check: Callable[[Header], None]) -> tuple[dict[str, NDArray[np.floating]], Header]:
    """The arrays, float16 and bfloat16 as float32, in memory that is the caller's. Raises as `read_header`.

    `check` sees the header before the numbers are read, and may raise. All dtypes are of `WIDENED` after it.
    """
    need_safetensors()
    from safetensors import SafetensorError, deserialize

    with _opened(path) as file:
        header = _header(file)
        check(header)
        file.seek(0)
        content = file.read()
    try:
        tensors = dict(deserialize(content))
    except SafetensorError as error:
        raise FileInvalid(f"truncated, corrupt or not a safetensors file: {error}") from None
    arrays = {}
    for name, (dtype, shape) in header.tensors.items():
        tensor = tensors.pop(name, None)
        if tensor is None or tensor["dtype"] != dtype or tuple(tensor["shape"]) != shape:
            raise FileInvalid("corrupt, or changed while it was read")
        arrays[name] = WIDENED[dtype](tensor["data"]).reshape(shape)
    return arrays, header


def _opened(path: Path) -> BinaryIO:
    refuse_irregular(path.stat().st_mode)  # opening a pipe would wait
    file = path.open("rb")
    try:
        refuse_irregular(os.fstat(file.fileno()).st_mode)
    except FileRefused:
        file.close()
        raise
    return file


def _header(file: BinaryIO) -> Header:
    """Checks sizes, so that no more than the file's arrays is read, and names; the rest is safetensors' to check."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise FileInvalid("truncated, or not a safetensors file: it has no header")
    (length,) = struct.unpack("<Q", start)
    if length > _MOST_HEADER:
        raise FileInvalid("not a safetensors file: its header would be too long")
    if length > size - 8:
        raise FileInvalid("truncated, or not a safetensors file: it ends within its header")
    try:
        entries = json.loads(file.read(length).decode(), object_pairs_hook=_once)
        metadata = entries.pop("__metadata__", None)
        tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
        metadata = {} if metadata is None else metadata
        if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
            raise FileInvalid("corrupt: its metadata are not strings")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise FileInvalid(f"corrupt, or not a safetensors file: its header cannot be read: {error}") from None
    end = 8 + length + max((end for _, _, end in tensors.values()), default=0)
    if end > size:
        raise FileInvalid(f"truncated: it has {size} bytes, and its arrays end at {end}")
    if end < size:
        raise FileInvalid(f"corrupt: {size - end} bytes after its last array")
    return Header({name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}, metadata)


def _tensor(name: str, entry: dict[str, Any]) -> tuple[str, tuple[int, ...], int]:
    dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    if not (isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and begin <= end):
        raise FileInvalid(f"corrupt: {name} has no proper dtype, shape or offsets")
    item = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(dtype)
    if item is not None and end - begin != item * math.prod(shape):
        raise FileInvalid(f"corrupt: {name} is {dtype} {list(shape)}, and its offsets hold {end - begin} bytes")
    return dtype, shape, end


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise FileInvalid(f"corrupt: {next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found
