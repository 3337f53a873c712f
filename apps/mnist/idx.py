"""The idx format of the published MNIST: a big-endian header, then the bytes of one array."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from owl._files.whole import FileRefused, refuse_irregular
from owl.apps.mnist.dataset import PIXELS, SIDE, Split, check_split
from owl.apps.mnist.errors import DataError

UINT8 = 0x08
GZIP_MAGIC = b"\x1f\x8b"
MOST_DIMENSIONS = 32
MOST_RATIO = 1032  # of unpacked to packed bytes, in deflate
MOST_BYTES = 1 << 30  # of one file; the largest of MNIST has 47 million

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NAMES = tuple(name for pair in FILES.values() for name in pair)


def decompress(content: bytes, name: str) -> bytes:
    """Return ``content`` with its gzip container, if it has one, taken off; the container's checksum is verified.

    At most as much is unpacked as the header of the idx file in it announces, and that is bounded. Raises DataError.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        with gzip.open(BytesIO(content)) as file:
            head = file.read(4)
            head += file.read(4 * _dimensions(head, name))
            size = len(head) + math.prod(_shape(head, name))
            if size > MOST_RATIO * len(content):
                raise EOFError
            # One byte more is asked for: the end, where the checksum lies, is to be seen, or that there is more.
            whole = head + file.read(size - len(head) + 1)
    except EOFError:
        raise DataError(f"{name}: truncated gzip file") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{name}: corrupt gzip file: {error}") from None
    if len(whole) > size:
        raise DataError(f"{name}: too long: its header announces {size} bytes")
    return whole


def _dimensions(content: bytes, name: str) -> int:
    """How many dimensions the header gives."""
    if not content:
        raise DataError(f"{name}: empty file")
    if len(content) < 4:
        raise DataError(f"{name}: truncated idx header")
    zeros, kind, ndim = struct.unpack_from(">HBB", content)
    if zeros != 0 or kind != UINT8 or ndim == 0:
        raise DataError(f"{name}: not an idx file of unsigned bytes (it begins with {content[:4].hex()})")
    if ndim > MOST_DIMENSIONS:
        raise DataError(f"{name}: {ndim} dimensions; at most {MOST_DIMENSIONS} are read")
    return ndim


def _shape(content: bytes, name: str) -> tuple[int, ...]:
    """The shape that the header gives."""
    ndim = _dimensions(content, name)
    if len(content) < 4 + 4 * ndim:
        raise DataError(f"{name}: truncated idx header")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    if math.prod(extent for extent in shape if extent) > MOST_BYTES:
        raise DataError(f"{name}: truncated or damaged: the shape {list(shape)} takes more than {MOST_BYTES} bytes")
    return shape


def parse(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the uint8 array in ``content``, read-only and without copying; raise DataError naming ``name``."""
    shape = _shape(content, name)
    start = 4 + 4 * len(shape)
    expected = math.prod(shape)
    got = len(content) - start
    if got != expected:
        what = "truncated" if got < expected else "too long"
        raise DataError(f"{name}: {what}: the shape {list(shape)} needs {expected} bytes, the file has {got}")
    return np.frombuffer(content, np.uint8, expected, start).reshape(shape)


def find(folder: Path, name: str) -> Path | None:
    """The file called ``name`` in ``folder``, plain or gzipped, also with a dot as in ``train-images.idx3-ubyte``."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = folder / (spelling + suffix)
            if path.is_file():
                return path
    return None


def build_split(images: NDArray[np.uint8], labels: NDArray[np.uint8], name: str) -> Split:
    """Check what the two files of a split hold and flatten the images to rows of 784."""
    if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{name}: expected images [n, {SIDE}, {SIDE}], got {list(images.shape)}")
    return check_split(Split(images.reshape(-1, PIXELS), labels), name)


def read_split(images: Path, labels: Path) -> Split:
    """Read one split from its two files, gzipped or not."""
    return build_split(read(images), read(labels), str(images))


def read(path: Path) -> NDArray[np.uint8]:
    """Read the array of one file, gzipped or not."""
    return parse(decompress(read_bytes(path), str(path)), str(path))


def read_bytes(path: Path) -> bytes:
    """The whole file; DataError if it cannot be read, is larger than any that is read, or is no regular file."""
    try:
        refuse_irregular(path.stat().st_mode)  # before it is opened: to open a pipe waits for its other end
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES:
                raise DataError(f"{path}: larger than {MOST_BYTES} bytes")
            return file.read(size)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except FileRefused as refusal:
        raise DataError(f"{path}: {refusal}") from None
