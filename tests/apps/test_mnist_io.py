"""The loader of the classic scripts: batches of the walkthrough's form, or an error and nothing."""

from __future__ import annotations

import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from owl.apps.mnist.dataset import Dataset, batches, one_hot
from owl.apps.mnist.errors import DataError
from owl.apps.mnist.mnist_io import load_mb_from_mat


def row_set(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """Rows of pixels with their digit, in an order of their own."""
    return sorted(image.tobytes() + bytes([label]) for image, label in zip(images, labels))


def test_batches_hold_every_image_once_with_its_label(mat_file: Path, small: Dataset) -> None:
    train, _ = load_mb_from_mat(mat_file, 64)
    data = np.concatenate([data for data, _ in train])
    label = np.concatenate([label for _, label in train])
    assert row_set((data * 256).astype(np.uint8), label.argmax(1).astype(np.uint8)) == row_set(
        small.train.images, small.train.labels
    )


def test_shapes_types_and_range(mat_file: Path) -> None:
    train, test = load_mb_from_mat(mat_file, 64)
    assert [len(data) for data, _ in train] == [64, 64, 64, 64, 44]
    for data, label in [*train, test]:
        assert data.shape == (len(label), 784)
        assert label.shape == (len(data), 10)
        assert data.dtype == label.dtype == np.float32
        assert data.flags.c_contiguous
        assert label.flags.c_contiguous
        assert data.min() >= 0
        assert 0.5 < data.max() < 1
        np.testing.assert_array_equal(label.sum(1), 1)


def test_the_test_pair_is_whole_and_divided_by_256(mat_file: Path, small: Dataset) -> None:
    _, (data, label) = load_mb_from_mat(mat_file, 64)
    np.testing.assert_array_equal(data, small.test.images.astype(np.float64) / 256)
    np.testing.assert_array_equal(label.argmax(1), small.test.labels)


def test_batches_are_shuffled_by_the_seed_of_numpy(mat_file: Path) -> None:
    digits = []
    for seed in (1, 1, 2):
        np.random.seed(seed)  # noqa: NPY002 (what classic scripts call)
        train, _ = load_mb_from_mat(mat_file, 300)
        digits.append(train[0][1].argmax(1))
    np.testing.assert_array_equal(digits[0], digits[1])
    assert (digits[0] != digits[2]).any()
    assert (np.diff(digits[0]) < 0).any()


def test_the_name_may_lack_its_suffix(mat_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mat_file.parent)
    assert len(load_mb_from_mat("mnist_all", 100)[0]) == 3
    assert len(load_mb_from_mat(str(mat_file.with_suffix("")), 100)[0]) == 3
    shutil.move(mat_file, mat_file.with_name("other.v1.mat"))
    assert len(load_mb_from_mat("other.v1", 100)[0]) == 3


def test_a_batch_larger_than_the_data_is_one_short_batch(mat_file: Path) -> None:
    train, _ = load_mb_from_mat(mat_file, 1000)
    assert [data.shape for data, _ in train] == [(300, 784)]


def test_the_classic_name_stands_for_the_data_of_the_main_job(
    idx_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OWL_DATA", str(idx_folder))
    assert len(load_mb_from_mat("mnist_all", 100)[0]) == 3
    assert str(idx_folder) in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.mat: no such file"):
        load_mb_from_mat(tmp_path / "nowhere", 64)


def test_the_size_of_a_batch_is_checked(mat_file: Path) -> None:
    with pytest.raises(ValueError, match="mb_size must be at least 1, got 0"):
        load_mb_from_mat(mat_file, 0)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(mat_file: Path, share: float) -> None:
    content = mat_file.read_bytes()
    mat_file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"mnist_all.mat: (truncated|empty file)"):
        load_mb_from_mat(mat_file, 64)


def test_a_file_cut_between_two_variables_lacks_the_later_ones(write_mat: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"mnist_all.mat: no variable test9"):
        load_mb_from_mat(write_mat(test9=None), 64)


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_in_compressed_pixels_is_noticed(write_mat: Callable[..., Path], seed: int) -> None:
    path = write_mat()
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    content[rng.integers(1000, len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mnist_all\.mat: "):
        load_mb_from_mat(path, 64)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x" * 5000, "not a Matlab 5 file"),
        (b"MATLAB 7.3 MAT-file".ljust(512), "HDF5"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"\xff" * 64, "truncated"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"\x0e\0\0\0\x10\0\0\0" + b"\xff" * 16, "corrupt"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"\x0f\0\0\0\x10\0\0\0" + b"\xff" * 16, "corrupt"),
        (b"MATLAB 5.0".ljust(124) + b"\x00\x01IM", "no variable train0"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "mnist_all.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"mnist_all.mat: .*{reason}"):
        load_mb_from_mat(path, 64)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.zeros((5, 783), np.uint8), r"train3 is uint8 \[5, 783\], expected uint8 \[n, 784\]"),
        (np.zeros((5, 784), np.float64), r"train3 is float64 \[5, 784\]"),
        (np.zeros((0, 784), np.uint8), "train3 is (empty|uint8 .0, )"),
        (np.zeros((5, 28, 28), np.uint8), r"train3 is uint8 \[5, 28, 28\]"),
        ("some text", "train3 is text"),
        ({"a": 1}, "train3 is "),
    ],
)
def test_a_variable_of_another_form_is_refused(write_mat: Callable[..., Path], value: object, reason: str) -> None:
    with pytest.raises(DataError, match=f"mnist_all.mat: {reason}"):
        load_mb_from_mat(write_mat(train3=value), 64)


@pytest.mark.parametrize("size", [1, 7, 100, 300, 1000])
@pytest.mark.parametrize("shuffled", [True, False])
def test_lazy_batches_are_those_of_the_whole(small: Dataset, size: int, shuffled: bool) -> None:
    order = np.random.default_rng(3).permutation(300) if shuffled else None
    rows = np.arange(300) if order is None else order
    got = [(data.copy(), label.copy()) for data, label in batches(small.train, size, order)]
    assert [len(data) for data, _ in got] == [min(size, 300 - start) for start in range(0, 300, size)]
    np.testing.assert_array_equal(np.concatenate([data for data, _ in got]), small.train.images[rows] / np.float32(256))
    np.testing.assert_array_equal(np.concatenate([label for _, label in got]), one_hot(small.train.labels[rows]))


def test_a_variable_that_unpacks_to_more_than_it_promises_is_refused(mat_file: Path) -> None:
    content = mat_file.read_bytes()
    kind, length = struct.unpack_from("<II", content, 128)
    if kind != 15:
        pytest.skip("plain files hold what they promise")
    bomb = zlib.compress(zlib.decompress(content[136 : 136 + length]) + bytes(64 << 20))
    mat_file.write_bytes(content[:128] + struct.pack("<II", 15, len(bomb)) + bomb + content[136 + length :])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="corrupt element at byte 128: unpacks to more bytes than"):
            load_mb_from_mat(mat_file, 64)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
