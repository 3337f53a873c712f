"""Parameters in a safetensors file, with the net they belong to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from owl._files.format import WIDENED, FileInvalid, Header, NeedsSafetensors, need_safetensors, read, to_bytes
from owl._files.whole import FileRefused, writable_target, write_whole
from owl.apps.mnist.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]
T = TypeVar("T")

_MOST_HEADER = 1 << 20  # bytes; a header of these few arrays has some hundred
_MOST_ITEM = 8


def check_target(path: Path) -> None:
    """Raise CheckpointError if a file at ``path`` cannot be written: better before the training than after it."""

    def check() -> None:
        need_safetensors()
        writable_target(path)

    _told(path, check)


def save(path: Path, net: str, arrays: Arrays) -> None:
    """Write ``arrays`` aside and move the file to ``path``, so that a whole file stands there at any time.

    The metadata hold ``net`` and, as JSON, the shape of each array in NumPy's order. Symbolic links are followed;
    raises CheckpointError for a device, a pipe, or anything else that is no regular file.
    """
    shapes = json.dumps({name: list(array.shape) for name, array in arrays.items()})
    _told(path, lambda: write_whole(path, to_bytes(arrays, {"net": net, "shapes": shapes})))


def load(path: Path, net: str, shapes: Mapping[str, Sequence[int]]) -> Arrays:
    """Read the arrays of ``net``, whose NumPy shapes are ``shapes``: float64 as they are, float32, float16 and bfloat16
    as float32.

    Raises CheckpointError, naming file and reason, for a file that is truncated, corrupt or another net's.
    """

    def check(header: Header) -> None:
        found = header.metadata.get("net")
        if found != net:
            holds = f"the net {found!r}" if found else "no net of this program"
            raise FileInvalid(f"holds {holds}, expected {net!r}")
        _check_arrays(header, shapes)

    def checked() -> Arrays:
        need_safetensors()
        _check_size(path, shapes)
        return read(path, check)[0]

    return _told(path, checked)


def _check_size(path: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Of a file that is larger than these arrays can be, no header is read."""
    most = _MOST_HEADER + _MOST_ITEM * sum(math.prod(shape) for shape in shapes.values())
    if path.stat().st_size > most:
        raise FileInvalid(f"larger than the arrays of this net, which take at most {most} bytes")


def _check_arrays(header: Header, shapes: Mapping[str, Sequence[int]]) -> None:
    if header.tensors.keys() != shapes.keys():
        raise FileInvalid(f"expected the arrays {sorted(shapes)}, the file has {sorted(header.tensors)}")
    for name, shape in shapes.items():
        dtype, found = header.tensors[name]
        if dtype not in WIDENED or found != tuple(shape):
            raise FileInvalid(f"{name} is {dtype} {list(found)}, expected F64, F32, F16 or BF16 {list(shape)}")


def _told(path: Path, act: Callable[[], T]) -> T:
    """The result of `act`, whose errors become a CheckpointError that names the file."""
    try:
        return act()
    except NeedsSafetensors:
        raise CheckpointError(f"{path}: checkpoints need safetensors: pip install 'owl-runtime[apps]'") from None
    except (FileInvalid, FileRefused) as problem:
        raise CheckpointError(f"{path}: {problem}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from None
