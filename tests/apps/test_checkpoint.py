"""Checkpoints come back as they were, or are refused with file and reason."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import owl
from owl.apps.mnist import checkpoint
from owl.apps.mnist.errors import CheckpointError

pytest.importorskip("safetensors")
from safetensors import safe_open

SHAPES = {"w": (5, 3), "b": (1, 3)}


@pytest.fixture
def arrays() -> checkpoint.Arrays:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def saved(tmp_path: Path, arrays: checkpoint.Arrays) -> Path:
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, "mlp", arrays)
    return path


def test_what_is_saved_is_loaded(saved: Path, arrays: checkpoint.Arrays) -> None:
    loaded = checkpoint.load(saved, "mlp", SHAPES)
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == np.float32


def test_arrays_of_any_memory_order_are_saved(tmp_path: Path, arrays: checkpoint.Arrays) -> None:
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, "mlp", {"w": np.asfortranarray(arrays["w"]), "b": arrays["b"]})
    np.testing.assert_array_equal(checkpoint.load(path, "mlp", SHAPES)["w"], arrays["w"])


def test_the_metadata_name_net_and_shapes(saved: Path) -> None:
    with safe_open(saved, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["net"] == "mlp"
    assert json.loads(metadata["shapes"]) == {"w": [5, 3], "b": [1, 3]}


def test_saving_replaces_a_file_and_leaves_nothing_else(saved: Path, arrays: checkpoint.Arrays) -> None:
    changed = {**arrays, "b": arrays["b"] + 1}
    checkpoint.save(saved, "mlp", changed)
    np.testing.assert_array_equal(checkpoint.load(saved, "mlp", SHAPES)["b"], changed["b"])
    assert list(saved.parent.iterdir()) == [saved]


def test_a_save_that_fails_leaves_the_old_file(
    saved: Path, arrays: checkpoint.Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match=r"net\.safetensors: cannot be written: No space left on device"):
        checkpoint.save(saved, "mlp", {**arrays, "b": arrays["b"] + 1})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.8, 0.99])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"net\.safetensors: truncated"):
        checkpoint.load(saved, "mlp", SHAPES)


def test_another_format_is_refused(saved: Path) -> None:
    saved.write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(CheckpointError, match=r"net\.safetensors: .*not a safetensors file"):
        checkpoint.load(saved, "mlp", SHAPES)


def test_another_net_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=r"net\.safetensors: holds the net 'mlp', expected 'cnn'"):
        checkpoint.load(saved, "cnn", SHAPES)


def test_a_file_of_another_program_is_refused(saved: Path, arrays: checkpoint.Arrays) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, saved)
    with pytest.raises(CheckpointError, match="holds no net of this program, expected 'mlp'"):
        checkpoint.load(saved, "mlp", SHAPES)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"w": np.zeros((5, 4), np.float32)}, r"w is F32 \[5, 4\], expected F64, F32, F16 or BF16 \[5, 3\]"),
        ({"w": np.zeros((5, 3), np.int32)}, r"w is I32 \[5, 3\], expected F64, F32, F16 or BF16 \[5, 3\]"),
        ({"extra": np.zeros(1, np.float32)}, r"expected the arrays \['b', 'w'\], the file has \['b', 'extra', 'w'\]"),
    ],
)
def test_other_arrays_are_refused(
    saved: Path, arrays: checkpoint.Arrays, changes: checkpoint.Arrays, reason: str
) -> None:
    checkpoint.save(saved, "mlp", {**arrays, **changes})
    with pytest.raises(CheckpointError, match=reason):
        checkpoint.load(saved, "mlp", SHAPES)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match=path.name):
            checkpoint.load(path, "mlp", SHAPES)


def test_a_target_that_cannot_be_written_is_refused_early(tmp_path: Path) -> None:
    checkpoint.check_target(tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match="is a folder"):
        checkpoint.check_target(tmp_path)
    with pytest.raises(CheckpointError, match="no folder"):
        checkpoint.check_target(tmp_path / "nowhere" / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32", "F64"])
def test_narrow_numbers_are_widened_exactly(tmp_path: Path, arrays: checkpoint.Arrays, kind: str) -> None:
    bits = {name: array.view(np.uint32) & 0xFFFF0000 for name, array in arrays.items()}
    values = {name: array.view(np.float32) for name, array in bits.items()}
    narrow = {
        "F16": lambda name: values[name].astype(np.float16),
        "BF16": lambda name: (bits[name] >> 16).astype(np.uint16),
        "F32": lambda name: values[name],
        "F64": lambda name: values[name].astype(np.float64),
    }[kind]
    tensors = {
        name: {"dtype": kind, "shape": list(array.shape), "data": narrow(name).tobytes()}
        for name, array in arrays.items()
    }
    path = tmp_path / "net.safetensors"
    path.write_bytes(as_file(tensors, {"net": "mlp"}))
    loaded = checkpoint.load(path, "mlp", SHAPES)
    for name, array in loaded.items():
        assert array.dtype == (np.float64 if kind == "F64" else np.float32)
        expected = values[name].astype(np.float16) if kind == "F16" else values[name]
        np.testing.assert_array_equal(array, expected)


def as_file(tensors: dict[str, Any], metadata: dict[str, str]) -> bytes:
    """A safetensors file, written by hand: NumPy has no bfloat16 that the library could take."""
    header: dict[str, Any] = {"__metadata__": metadata}
    data = b""
    for name, tensor in tensors.items():
        offsets = [len(data), len(data) + len(tensor["data"])]
        header[name] = {"dtype": tensor["dtype"], "shape": tensor["shape"], "data_offsets": offsets}
        data += tensor["data"]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_a_file_larger_than_the_net_is_not_read(saved: Path) -> None:
    with saved.open("ab") as file:
        file.truncate(1 << 32)
    with pytest.raises(CheckpointError, match="larger than the arrays of this net"):
        checkpoint.load(saved, "mlp", SHAPES)


def test_a_file_that_was_written_by_the_library_alone_is_read(tmp_path: Path, arrays: checkpoint.Arrays) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "net.safetensors"
    shapes = json.dumps({name: list(array.shape) for name, array in arrays.items()})
    save_file(arrays, path, {"net": "mlp", "shapes": shapes})
    loaded = checkpoint.load(path, "mlp", SHAPES)
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_owl_loads_a_checkpoint(saved: Path, arrays: checkpoint.Arrays) -> None:
    loaded = owl.load(saved)
    assert owl.load_metadata(saved)["net"] == "mlp"
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name].to_numpy(), array)
