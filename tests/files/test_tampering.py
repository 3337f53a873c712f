"""Files that are truncated, foreign or tampered with are errors that name the file and the reason."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import owl

pytest.importorskip("safetensors")

DATA = np.arange(6, dtype=np.float32).tobytes()
A = '"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}'
B = '"b":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}'


def header(*entries: str) -> str:
    return "{" + ",".join(entries) + "}"


def file_of(start: str | bytes, data: bytes = DATA) -> bytes:
    text = start.encode() if isinstance(start, str) else start
    return struct.pack("<Q", len(text)) + text + data


def of(**changes: Any) -> str:
    """The header of `a`, and of `b` with changes."""
    b = {"dtype": "F32", "shape": [3], "data_offsets": [12, 24], **changes}
    return header(A, f'"b":{json.dumps(b)}')


def refused(path: Path, content: bytes, reason: str = "") -> None:
    path.write_bytes(content)
    with pytest.raises(owl.OwlValueError, match=rf"\[load\] .*net: .*{reason}"):
        owl.load(path)
    assert list(path.parent.iterdir()) == [path]


def test_the_whole_file_is_read(tmp_path):
    (tmp_path / "net").write_bytes(file_of(header(A, B)))
    loaded = owl.load(tmp_path / "net")
    np.testing.assert_array_equal(loaded["a"].to_numpy(), [0, 1, 2])
    np.testing.assert_array_equal(loaded["b"].to_numpy(), [3, 4, 5])


def test_every_truncation_is_refused(tmp_path):
    whole = file_of(header(A, B))
    for size in range(len(whole)):
        refused(tmp_path / "net", whole[:size], "truncated")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (file_of(header(A, B), DATA + b"x"), "1 bytes after its last array"),
        (file_of(header(A, A), DATA[:12]), "'a' stands there twice"),
        (file_of('{"a":{"dtype":"F32","dtype":"F32"}}'), "'dtype' stands there twice"),
        (file_of(of(data_offsets=[0, 12]), DATA[:12]), "corrupt"),
        (file_of(of(data_offsets=[8, 20]), DATA[:20]), "corrupt"),
        (file_of(of(data_offsets=[16, 28]), DATA + bytes(4)), "corrupt"),
        (file_of(of(data_offsets=[12, 1 << 62])), "offsets hold"),
        (file_of(of(data_offsets=[24, 12])), "b has no proper"),
        (file_of(of(data_offsets=[-12, 0])), "b has no proper"),
        (file_of(of(data_offsets=[12.0, 24.0])), "b has no proper"),
        (file_of(of(data_offsets=[12])), "header cannot be read"),
        (file_of(of(shape=[4])), r"b is F32 \[4\], and its offsets hold 12 bytes"),
        (file_of(of(shape=[1 << 40, 1 << 40])), "offsets hold 12 bytes"),
        (file_of(of(shape=[True, 3])), "b has no proper"),
        (file_of(of(shape=3)), "header cannot be read"),
        (file_of(of(dtype=None)), "b has no proper"),
        (file_of(of(dtype="F64")), r"b is F64 \[3\], and its offsets hold 12 bytes"),
        (file_of(header('"__metadata__":{"step":7}', A, B)), "metadata are not strings"),
        (file_of(header('"__metadata__":[["a","b"]]', A, B)), "metadata are not strings"),
        (file_of("[]"), "header cannot be read"),
        (file_of("{" * 100_000), "header cannot be read"),
        (file_of(b"\xff\xfe"), "header cannot be read"),
        (struct.pack("<Q", 1 << 63) + DATA, "header would be too long"),
        (b"PK\x03\x04" + bytes(500), "truncated, or not a safetensors file"),
        (b"\x93NUMPY\x01\x00" + bytes(500), "not a safetensors file"),
        (b"", "has no header"),
    ],
)
def test_tampered_and_foreign_files_are_refused(tmp_path, content, reason):
    refused(tmp_path / "net", content, reason)


@pytest.mark.parametrize("dtype", ["I32", "U8", "BOOL", "I64", "C64"])
def test_arrays_of_other_dtypes_are_refused_by_name(tmp_path, dtype):
    size = {"I32": 4, "U8": 1, "BOOL": 1, "I64": 8, "C64": 8}[dtype]
    count = {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}
    (tmp_path / "net").write_bytes(file_of(json.dumps({"count": count}), bytes(2 * size)))
    with pytest.raises(owl.DTypeError, match=rf"net: count is {dtype}; owl computes with"):
        owl.load(tmp_path / "net")


def test_bfloat16_is_widened_exactly(tmp_path, rng):
    bits = rng.integers(0, 0x7F80, 8, dtype=np.uint16)
    start = '{"x":{"dtype":"BF16","shape":[8],"data_offsets":[0,16]}}'
    (tmp_path / "net").write_bytes(file_of(start, bits.tobytes()))
    x = owl.load(tmp_path / "net")["x"].to_numpy()
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.view(np.uint32), bits.astype(np.uint32) << 16)


def test_names_that_make_no_nest_are_refused(tmp_path):
    content = file_of(header(A.replace('"a"', '"w"'), B.replace('"b"', '"w.b"')))
    refused(tmp_path / "net", content, r"w is an array, so that w\.b cannot be one of a container")


def test_a_name_of_many_dots_is_a_deep_nest(tmp_path):
    depth = 5000
    name = ".".join(["a"] * depth)
    (tmp_path / "net").write_bytes(file_of(header(A.replace('"a"', f'"{name}"')), DATA[:12]))
    nest = owl.load(tmp_path / "net")
    for _ in range(depth):
        nest = nest["a"]
    np.testing.assert_array_equal(nest.to_numpy(), [0, 1, 2])


def test_a_large_tail_is_refused_unread(tmp_path):
    with (tmp_path / "net").open("wb") as file:
        file.write(file_of(header(A, B)))
        file.truncate(1 << 40)  # more than any memory
    with pytest.raises(owl.OwlValueError, match="bytes after its last array"):
        owl.load(tmp_path / "net")


def test_mutants_are_read_or_refused(tmp_path):
    path = tmp_path / "net"
    owl.save(path, {"layers": [{"w": owl.ones([3, 2]), "b": owl.zeros([3])}], "last": owl.ones([2])}, step="1")
    whole, draw, read = path.read_bytes(), random.Random(1), 0
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            content[draw.randrange(len(content) if draw.random() < 0.2 else 200)] = draw.randrange(256)
        path.write_bytes(content)
        try:
            owl.load(path)
            owl.load_metadata(path)
            read += 1
        except owl.OwlError as error:
            assert "net: " in str(error)
    assert 0 < read < 2000
