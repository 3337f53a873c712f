"""The ``mnist_all.mat`` of the classic walkthrough: variables ``train0`` .. ``train9``, ``test0`` .. ``test9``.

Each is uint8 ``[n, 784]``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from owl.apps.mnist.dataset import CLASSES, PIXELS, Dataset, Split, check_split
from owl.apps.mnist.errors import DataError
from owl.apps.mnist.idx import read_bytes
from owl.apps.mnist.mat5 import Variable, read_bytes_arrays

Variables = dict[str, NDArray[np.uint8] | Variable]


def read_mat(path: Path) -> Dataset:
    """Read both splits; raise DataError naming the file if anything in it is missing, damaged or of another shape."""
    name = str(path)
    wanted = {f"{prefix}{digit}" for prefix in ("train", "test") for digit in range(CLASSES)}
    variables = read_bytes_arrays(read_bytes(path), wanted, name)
    return Dataset(_split(variables, "train", name), _split(variables, "test", name), f"MNIST, {name}")


def _split(variables: Variables, prefix: str, name: str) -> Split:
    images = []
    for digit in range(CLASSES):
        key = f"{prefix}{digit}"
        if key not in variables:
            raise DataError(f"{name}: no variable {key}")
        array = variables[key]
        if isinstance(array, Variable) or array.ndim != 2 or array.shape[1] != PIXELS:
            found = array if isinstance(array, Variable) else f"uint8 {list(array.shape)}"
            raise DataError(f"{name}: {key} is {found}, expected uint8 [n, {PIXELS}]")
        if len(array) == 0:
            raise DataError(f"{name}: {key} is empty")
        images.append(array)
    labels = np.repeat(np.arange(CLASSES, dtype=np.uint8), [len(array) for array in images])
    # Matlab stores columns; batches take rows, so the rows are laid out one after the other here, once
    rows = np.concatenate(images, out=np.empty((len(labels), PIXELS), np.uint8))
    return check_split(Split(rows, labels), name)
