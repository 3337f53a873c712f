"""The ``mnist_all.mat`` of the classic walkthrough: variables ``train0`` .. ``train9``, ``test0`` .. ``test9``.

Each is uint8 ``[n, 784]``. SciPy stops reading a compressed variable once it has its bytes, before zlib has compared
the checksum, so a damaged file could load as slightly wrong images. The elements are therefore unpacked and verified
here; SciPy reads the variables.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from owl.apps.mnist.dataset import CLASSES, PIXELS, Dataset, Split, check_split
from owl.apps.mnist.errors import DataError
from owl.apps.mnist.idx import read_bytes

HEADER = 128  # bytes: text, offset, version, byte order
TAG = 8  # bytes: type and length of the element that follows
COMPRESSED = 15
BYTE_ORDER = {b"IM": "<", b"MI": ">"}


def read_mat(path: Path) -> Dataset:
    """Read both splits; raise DataError naming the file if anything in it is missing, damaged or of another shape."""
    name = str(path)
    content = _unpack(read_bytes(path), name)
    wanted = [f"{prefix}{digit}" for prefix in ("train", "test") for digit in range(CLASSES)]
    try:
        variables = loadmat(io.BytesIO(content), variable_names=wanted)
    except Exception as error:  # SciPy lets through whatever its parser stumbles over
        raise DataError(f"{name}: corrupt Matlab file: {error}") from None
    return Dataset(_split(variables, "train", name), _split(variables, "test", name), f"MNIST, {name}")


def _unpack(content: bytes, name: str) -> bytes:
    """Check the lengths of all elements and return the file with the compressed ones decompressed."""
    if not content:
        raise DataError(f"{name}: empty file")
    if content.startswith(b"MATLAB 7.3"):
        raise DataError(f"{name}: a Matlab 7.3 (HDF5) file; save it with -v7")
    if len(content) < HEADER:
        raise DataError(f"{name}: truncated or not a Matlab file: {len(content)} bytes")
    order = BYTE_ORDER.get(content[HEADER - 2 : HEADER])
    if order is None:
        raise DataError(f"{name}: not a Matlab 5 file")
    parts = [content[:HEADER]]
    position = HEADER
    while position < len(content):
        if len(content) - position < TAG:
            raise DataError(f"{name}: truncated at byte {len(content)}")
        kind, length = struct.unpack_from(f"{order}II", content, position)
        end = position + TAG + length
        if end > len(content):
            raise DataError(f"{name}: truncated: an element ends at byte {end}, the file at {len(content)}")
        if kind == COMPRESSED:
            parts.append(_decompress(content[position + TAG : end], name, position))
        else:
            parts.append(content[position:end])
        position = end
    return b"".join(parts)


def _decompress(data: bytes, name: str, position: int) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error as error:
        raise DataError(f"{name}: corrupt element at byte {position}: {error}") from None


def _split(variables: dict[str, np.ndarray], prefix: str, name: str) -> Split:
    images = []
    for digit in range(CLASSES):
        key = f"{prefix}{digit}"
        if key not in variables:
            raise DataError(f"{name}: no variable {key}")
        array = variables[key]
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != PIXELS:
            raise DataError(f"{name}: {key} is {_describe(array)}, expected uint8 [n, {PIXELS}]")
        if len(array) == 0:
            raise DataError(f"{name}: {key} is empty")
        images.append(array)
    labels = np.repeat(np.arange(CLASSES, dtype=np.uint8), [len(array) for array in images])
    # Matlab stores columns; batches take rows, so the rows are laid out one after the other here, once
    rows = np.concatenate(images, out=np.empty((len(labels), PIXELS), np.uint8))
    return check_split(Split(rows, labels), name)


def _describe(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
