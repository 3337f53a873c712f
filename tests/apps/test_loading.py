"""Batches made ahead of training and in its loop: the same ones, and the same weights come of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import owl
from owl.apps.mnist import checkpoint
from owl.apps.mnist.augment import motions, move
from owl.apps.mnist.cli import main
from owl.apps.mnist.dataset import Batch, Dataset, to_batch
from owl.apps.mnist.loading import Loader, PipelineLoader, PlainLoader
from owl.apps.mnist.model import MODELS
from tests.support.leaks import owl_threads

LOADERS = [PlainLoader, PipelineLoader]


def copies(loader: Loader, epoch: int) -> list[Batch]:
    return [(data.copy(), label.copy()) for data, label in loader.epoch(epoch)]


def index_of_image(dataset: Dataset) -> dict[bytes, int]:
    split = dataset.train
    return {to_batch(split.images[i : i + 1], split.labels[i : i + 1])[0].tobytes(): i for i in range(len(split))}


@pytest.mark.parametrize("kind", LOADERS)
def test_an_epoch_holds_every_image_once_with_its_label(kind: type[Loader], small: Dataset) -> None:
    found = index_of_image(small)
    seen = []
    for data, label in copies(kind(small.train, 64, seed=3), 1):
        for image, row in zip(data, label):
            seen.append(found[image.tobytes()])
            np.testing.assert_array_equal(row, np.eye(10, dtype=np.float32)[small.train.labels[seen[-1]]])
    assert sorted(seen) == list(range(len(small.train)))
    assert seen != sorted(seen)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("size", [1, 64, 300, 1000])
def test_both_loaders_make_the_same_batches(small: Dataset, size: int, augment: bool) -> None:
    plain, ahead = (kind(small.train, size, 5, augment) for kind in LOADERS)
    assert len(plain) == len(ahead) == -(-300 // min(size, 300))
    for epoch in (1, 2):
        expected, got = copies(plain, epoch), copies(ahead, epoch)
        assert len(expected) == len(got) == len(plain)
        for (data, label), (other, digits) in zip(expected, got):
            np.testing.assert_array_equal(data, other)
            np.testing.assert_array_equal(label, digits)


@pytest.mark.parametrize("kind", LOADERS)
def test_seed_and_epoch_decide_the_batches(kind: type[Loader], small: Dataset) -> None:
    def first(seed: int, epoch: int) -> np.ndarray:
        return copies(kind(small.train, 300, seed, True), epoch)[0][0]

    np.testing.assert_array_equal(first(0, 2), first(0, 2))
    assert (first(0, 1) != first(0, 2)).any()
    assert (first(0, 1) != first(1, 1)).any()


def test_batches_made_ahead_stay_as_they_are(small: Dataset) -> None:
    held = list(PipelineLoader(small.train, 100, 0).epoch(1))
    for (data, _), (expected, _) in zip(held, copies(PlainLoader(small.train, 100, 0), 1)):
        np.testing.assert_array_equal(data, expected)


def test_leaving_an_epoch_early_ends_its_threads(small: Dataset) -> None:
    loader = PipelineLoader(small.train, 10, 0)
    batches = loader.epoch(1)
    next(iter(batches))
    batches.close()
    assert owl_threads() == []
    assert len(copies(loader, 2)) == len(loader)


# augmentation


def test_no_motion_changes_nothing(small: Dataset) -> None:
    images = small.train.images[:20]
    np.testing.assert_array_equal(move(images, np.zeros((20, 3))), images)


def test_whole_shifts_move_pixels() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[10:14, 12:15] = 200
    moved = move(image.reshape(1, -1), np.array([[0.0, 2.0, -1.0]])).reshape(28, 28)
    np.testing.assert_array_equal(moved, np.roll(image, (2, -1), (0, 1)))


def test_a_quarter_turn_turns_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    moved = move(image.reshape(1, -1), np.array([[np.pi / 2, 0.0, 0.0]])).reshape(28, 28)
    # The outermost pixels may fall just outside by rounding.
    turned = [np.rot90(image, times)[1:-1, 1:-1].astype(int) for times in (1, 3)]
    assert min(np.abs(moved[1:-1, 1:-1] - each).max() for each in turned) <= 1


def test_what_comes_in_is_black() -> None:
    moved = move(np.full((1, 784), 255, np.uint8), np.array([[0.0, 3.0, 0.0]])).reshape(28, 28)
    assert (moved[:3] == 0).all()
    assert (moved[3:] == 255).all()


def test_an_image_moves_alike_in_any_batch(small: Dataset) -> None:
    moves = motions(seed=1, epoch=1, images=300)
    whole = move(small.train.images, moves)
    for at in (0, 7, 299):
        np.testing.assert_array_equal(move(small.train.images[at : at + 1], moves[at : at + 1])[0], whole[at])


# the programs


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("options", [[], ["--augment"]])
def test_weights_are_the_same_bits_with_and_without_prefetch(
    name: str, options: list[str], idx_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = {key: shape[::-1] for key, shape in MODELS[name].shapes.items()}
    weights, lines = [], []
    for more in ([], ["--no-prefetch"]):
        path = tmp_path / "net.safetensors"
        arguments = [name, "--data", idx_folder, "--epochs", 2, "--batch-size", 100, "--save", path, *options, *more]
        assert main([str(argument) for argument in arguments]) == 0
        weights.append(checkpoint.load(path, name, shapes))
        lines.append([line.partition(", ")[0] for line in capsys.readouterr().out.splitlines() if "epoch" in line])
    assert lines[0] == lines[1] != []
    for key in shapes:
        np.testing.assert_array_equal(weights[0][key], weights[1][key])


@pytest.fixture(autouse=True)
def _restore_device() -> Iterator[None]:
    """The programs choose a device for the thread they run in, which other tests share."""
    before = owl.get_device()
    yield
    owl.set_device(before)
