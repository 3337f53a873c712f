"""Damages files at random and reads them: each is refused with a DataError or CheckpointError, or read as a whole.

``python -m tests.apps.mutants mat --count 20000 --seed 1`` prints how many were refused and how many read. Nothing else
may happen: no other error, no crash, no endless work, and no more memory than the files have reason to take.
"""

from __future__ import annotations

import argparse
import gzip
import io
import random
import resource
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from owl.apps.mnist import checkpoint, idx
from owl.apps.mnist.errors import CheckpointError, DataError
from owl.apps.mnist.mat import read_mat

MOST_MEMORY = 512 << 20  # bytes beyond those in use at the beginning
SHAPES = {"w": (12, 5), "b": (1, 12)}
SIZES = (0, 1, 2, 7, 8, 127, 255, 256, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF8, 0xFFFFFFFF)


def mutate(content: bytes, draw: random.Random) -> bytes:
    """One to four wounds: bits, bytes, sizes, and pieces that are missing, doubled, moved or emptied."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        # Heads are where sizes and types lie, and are a small part of most files.
        at = draw.randrange(min(len(data), draw.choice((16, 256, len(data)))))
        length = draw.randrange(1, 64)
        kind = draw.randrange(8)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.randrange(256)
        elif kind == 2:
            size = struct.pack(draw.choice("<>") + "I", draw.choice(SIZES))
            data[at : at + 4] = size
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length]
        elif kind == 6:
            source = draw.randrange(len(data))
            data[at : at + length] = data[source : source + length]
        else:
            data[at : at + length] = bytes(length)
    return bytes(data)


def originals(kind: str, rng: np.random.Generator) -> list[bytes]:
    """Whole files of a kind, packed and plain."""
    if kind == "mat":
        variables = {
            f"{split}{digit}": rng.integers(0, 256, (2, 784), dtype=np.uint8)
            for split in ("train", "test")
            for digit in range(10)
        }
        files = []
        for packed in (True, False):
            file = io.BytesIO()
            savemat(file, {"more": {"text": "x", "cells": [1, "y"]}, **variables}, do_compression=packed)
            files.append(file.getvalue())
        return files
    if kind == "idx":
        images = struct.pack(">HBB3I", 0, 8, 3, 3, 28, 28) + rng.integers(0, 256, 3 * 784, dtype=np.uint8).tobytes()
        return [images, gzip.compress(images)]
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net"
        checkpoint.save(path, "mlp", arrays)
        return [path.read_bytes()]


def read_safetensors(path: Path) -> None:
    for name, array in checkpoint.load(path, "mlp", SHAPES).items():
        assert array.shape == SHAPES[name]
        assert array.dtype in (np.float32, np.float64)


def read_idx(path: Path) -> None:
    array = idx.read(path)
    assert array.dtype == np.uint8
    assert array.size <= idx.MOST_BYTES


def read_matlab(path: Path) -> None:
    dataset = read_mat(path)
    for split in (dataset.train, dataset.test):
        assert split.images.shape == (len(split.labels), 784)


READERS: dict[str, Callable[[Path], None]] = {"mat": read_matlab, "idx": read_idx, "safetensors": read_safetensors}


def run(kind: str, count: int, seed: int) -> tuple[int, int]:
    """How many mutants were refused, and how many were read."""
    draw = random.Random(seed)
    files = originals(kind, np.random.default_rng(seed))
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for content in files:
            path.write_bytes(content)
            READERS[kind](path)
        for at in range(count):
            path.write_bytes(mutate(files[at % len(files)], draw))
            try:
                READERS[kind](path)
            except (DataError, CheckpointError) as error:
                refused += 1
                assert str(path) in str(error)
    return refused, count - refused


def bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=READERS)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bound_memory()
    refused, read = run(options.kind, options.count, options.seed)
    print(f"refused {refused}, read {read}")


if __name__ == "__main__":
    main()
