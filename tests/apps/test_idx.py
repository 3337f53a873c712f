"""The idx parser takes exactly what the format says and names what is wrong with anything else."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from owl.apps.mnist import idx
from owl.apps.mnist.errors import DataError

ARRAY = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
HEADER = struct.pack(">HBB3I", 0, 8, 3, 2, 3, 5)
CONTENT = HEADER + ARRAY.tobytes()


def test_parse_returns_the_array() -> None:
    np.testing.assert_array_equal(idx.parse(CONTENT, "x"), ARRAY)


def test_parse_of_one_dimension() -> None:
    np.testing.assert_array_equal(idx.parse(struct.pack(">HBBI", 0, 8, 1, 3) + b"\1\2\3", "x"), [1, 2, 3])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (CONTENT[:3], "truncated idx header"),
        (CONTENT[:9], "truncated idx header"),
        (CONTENT[:-1], r"truncated: the shape \[2, 3, 5\] needs 30 bytes, the file has 29"),
        (HEADER, "truncated"),
        (CONTENT + b"\0", "too long"),
        (b"\x00\x00\x0d\x03" + CONTENT[4:], "not an idx file of unsigned bytes"),
        (b"\x00\x00\x08\x00", "not an idx file"),
        (b"<!DOCTYPE html>", "not an idx file"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated"),
        (struct.pack(">HBB4I", 0, 8, 4, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1), "truncated or damaged"),
        (struct.pack(">HBB70I", 0, 8, 70, *[1] * 70) + b"\0", "70 dimensions; at most 32 are read"),
    ],
)
def test_parse_refuses(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=f"^some-file: .*{reason}"):
        idx.parse(content, "some-file")


def test_decompress_takes_plain_and_gzipped_content() -> None:
    assert idx.decompress(CONTENT, "x") == CONTENT
    assert idx.decompress(gzip.compress(CONTENT), "x") == CONTENT


@pytest.mark.parametrize("cut", [3, 12, -9, -1])
def test_decompress_refuses_a_truncated_container(cut: int) -> None:
    with pytest.raises(DataError, match=r"^some-file: truncated"):
        idx.decompress(gzip.compress(CONTENT)[:cut], "some-file")


@pytest.mark.parametrize("more", [64 << 20, 0])
def test_decompress_unpacks_no_more_than_the_header_announces(more: int) -> None:
    claim = CONTENT if more else struct.pack(">HBB3I", 0, 8, 3, 60_000, 28, 28)
    packed = gzip.compress(claim + bytes(more))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too long: its header announces 46 bytes" if more else "truncated"):
            idx.decompress(packed, "some-file")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("position", [2, -5])
def test_decompress_refuses_a_damaged_container(position: int) -> None:
    damaged = bytearray(gzip.compress(CONTENT))
    damaged[position] ^= 0x55
    with pytest.raises(DataError, match=r"^some-file: corrupt"):
        idx.decompress(bytes(damaged), "some-file")


@pytest.mark.parametrize(
    "spelling", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images-idx3-ubyte.gz"]
)
def test_find_knows_the_usual_spellings(tmp_path: Path, spelling: str) -> None:
    (tmp_path / spelling).touch()
    assert idx.find(tmp_path, "train-images-idx3-ubyte") == tmp_path / spelling
    assert idx.find(tmp_path, "train-labels-idx1-ubyte") is None


def test_read_split_refuses_images_of_another_size(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.write_bytes(CONTENT)
    labels.write_bytes(struct.pack(">HBBI", 0, 8, 1, 2) + b"\1\2")
    with pytest.raises(DataError, match=r"images: expected images \[n, 28, 28\], got \[2, 3, 5\]"):
        idx.read_split(images, labels)


@pytest.mark.parametrize(
    ("count", "labels", "reason"),
    [(2, b"\1\2\3", "2 images but 3 labels"), (0, b"", "no images"), (2, b"\1\x0a", "label 10 is not a digit")],
)
def test_read_split_refuses_labels_that_do_not_fit(tmp_path: Path, count: int, labels: bytes, reason: str) -> None:
    images_path, labels_path = tmp_path / "images", tmp_path / "labels"
    images_path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, count, 28, 28) + bytes(784 * count))
    labels_path.write_bytes(struct.pack(">HBBI", 0, 8, 1, len(labels)) + labels)
    with pytest.raises(DataError, match=reason):
        idx.read_split(images_path, labels_path)
