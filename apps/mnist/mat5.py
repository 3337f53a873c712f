"""Arrays of bytes in Matlab 5 files, with every tag, class and size checked before it is believed.

SciPy reads these files too, but its reader trusts them: it crashes on some that one flipped byte has made wrong, fills
the memory where a few compressed bytes promise gigabytes, and stops before zlib has compared a variable's checksum.

Source: MathWorks, "MAT-File Format", chapter "Level 5 MAT-File Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from owl.apps.mnist.errors import DataError

HEADER = 128  # bytes: text, offset, version, byte order
TAG = 8  # bytes: type and length of the element that follows
BYTE_ORDER = {b"IM": "<", b"MI": ">"}
MOST_BYTES = 1 << 30  # of all arrays of a file

_INT8, _UINT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 2, 5, 6, 14, 15
_CLASSES = (
    *("", "cell array", "structure", "object", "text", "sparse matrix", "float64", "float32"),
    *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
)
_COMPLEX = 0x0800
_MOST_NAME = 63  # characters; Matlab's own bound
_MOST_DIMENSIONS = 32
_HEAD = 4 * TAG + 4 * _MOST_DIMENSIONS + _MOST_NAME + 64  # bytes in which flags, dimensions and name lie


class _Malformed(Exception):
    """What is wrong with an element; the caller knows where it lies."""


@dataclass(frozen=True)
class Variable:
    """A variable as its head describes it; the bytes of its values follow at ``start``."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int

    def __str__(self) -> str:
        return f"{self.kind} {list(self.shape)}"


def read_bytes_arrays(content: bytes, wanted: Collection[str], name: str) -> dict[str, NDArray[np.uint8] | Variable]:
    """The ``wanted`` variables of a file: uint8 arrays as arrays, others as descriptions.

    Raises DataError, which names the file ``name`` and the place, for anything that is not as the format says.
    """
    found: dict[str, NDArray[np.uint8] | Variable] = {}
    left = MOST_BYTES
    for order, position, kind, data in _elements(content, name):
        try:
            if kind not in (_MATRIX, _COMPRESSED):
                continue
            head, size = _begin(data, order, kind)
            variable = _describe(head, size, order)
            if variable.name not in wanted:
                continue
            if variable.name in found:
                raise _Malformed(f"a second {variable.name}")
            if variable.kind != "uint8":
                found[variable.name] = variable
                continue
            left -= size
            if left < 0:
                raise _Malformed(f"the arrays take more than {MOST_BYTES} bytes")
            body = data[TAG:] if kind == _MATRIX else _inflate(data, size)
            found[variable.name] = _values(body, variable, order)
        except _Malformed as problem:
            raise DataError(f"{name}: corrupt element at byte {position}: {problem}") from None
    return found


def _elements(content: bytes, name: str) -> Iterator[tuple[str, int, int, memoryview]]:
    """Byte order, position, type and bytes of each element; of a plain matrix with the tag, as if it were unpacked."""
    if not content:
        raise DataError(f"{name}: empty file")
    if content.startswith(b"MATLAB 7.3"):
        raise DataError(f"{name}: a Matlab 7.3 (HDF5) file; save it with -v7")
    if len(content) < HEADER:
        raise DataError(f"{name}: truncated or not a Matlab file: {len(content)} bytes")
    order = BYTE_ORDER.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise DataError(f"{name}: not a Matlab 5 file")
    whole = memoryview(content)
    position = HEADER
    while position < len(content):
        if len(content) - position < TAG:
            raise DataError(f"{name}: truncated at byte {len(content)}")
        kind, length = struct.unpack_from(f"{order}II", content, position)
        end = position + TAG + length
        if end > len(content):
            raise DataError(f"{name}: truncated: an element ends at byte {end}, the file at {len(content)}")
        yield order, position, kind, whole[position + (TAG if kind == _COMPRESSED else 0) : end]
        position = end


def _begin(data: memoryview, order: str, kind: int) -> tuple[bytes, int]:
    """The head of a matrix, and the size of all of it, as its tag gives it."""
    try:
        head = bytes(data[: TAG + _HEAD]) if kind == _MATRIX else zlib.decompressobj().decompress(data, TAG + _HEAD)
    except zlib.error as error:
        raise _Malformed(str(error)) from None
    if len(head) < TAG:
        raise _Malformed("truncated")
    inner, size = struct.unpack_from(f"{order}II", head)
    if inner != _MATRIX:
        raise _Malformed(f"of type {inner}, where a matrix (type {_MATRIX}) is expected")
    return head[TAG : TAG + size], size


def _inflate(data: memoryview, size: int) -> bytes:
    """The ``size`` bytes after the tag; the checksum is verified, and more than was promised is not unpacked."""
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(data, TAG + size)
        more = stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise _Malformed(str(error)) from None
    if more or not stream.eof or len(body) != TAG + size:
        raise _Malformed(f"unpacks to {'more' if more else 'fewer'} bytes than the {TAG + size} that its tag promises")
    return body[TAG:]


def _describe(head: bytes, size: int, order: str) -> Variable:
    """Reads flags, dimensions and name."""
    flags, position = _sub(head, 0, order, _UINT32, "flags")
    if len(flags) != 8:
        raise _Malformed(f"flags of {len(flags)} bytes")
    (bits,) = struct.unpack_from(f"{order}I", flags)
    if not 0 < bits & 0xFF < len(_CLASSES):
        raise _Malformed(f"unknown class {bits & 0xFF}")
    kind = _CLASSES[bits & 0xFF]
    if bits & _COMPLEX:
        kind = f"complex {kind}"
    dimensions, position = _sub(head, position, order, _INT32, "dimensions")
    if len(dimensions) % 4 or not 2 <= len(dimensions) // 4 <= _MOST_DIMENSIONS:
        raise _Malformed(f"dimensions of {len(dimensions)} bytes")
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if min(shape) < 0:
        raise _Malformed(f"a negative dimension in {list(shape)}")
    text, position = _sub(head, position, order, _INT8, "name")
    if len(text) > _MOST_NAME:
        raise _Malformed(f"a name of {len(text)} bytes")
    if position > size:
        raise _Malformed("its head is longer than all of it")
    return Variable(text.decode("latin-1"), kind, shape, position)


def _values(body: bytes | memoryview, variable: Variable, order: str) -> NDArray[np.uint8]:
    data, _ = _sub(body, variable.start, order, _UINT8, "values")
    expected = math.prod(variable.shape)
    if len(data) != expected:
        raise _Malformed(f"{variable.name} has {len(data)} bytes, its shape {list(variable.shape)} needs {expected}")
    return np.frombuffer(data, np.uint8).reshape(variable.shape, order="F")


def _sub(body: bytes | memoryview, position: int, order: str, expected: int, what: str) -> tuple[bytes, int]:
    """The bytes of the element of a matrix at ``position``, which must be of a type, and where the next one begins."""
    if position + TAG > len(body):
        raise _Malformed(f"truncated before its {what}")
    kind, length = struct.unpack_from(f"{order}II", body, position)
    start = position + TAG
    if kind >> 16:  # a small element: type and length in four bytes, at most four bytes of data after them
        kind, length, start = kind & 0xFFFF, kind >> 16, position + 4
        if length > 4:
            raise _Malformed(f"a small element of {length} bytes")
        after = position + TAG
    else:
        after = start + -(-length // TAG) * TAG
    if kind != expected:
        raise _Malformed(f"its {what} are of type {kind}, expected {expected}")
    if start + length > len(body):
        raise _Malformed(f"truncated in its {what}")
    return bytes(body[start : start + length]), after
