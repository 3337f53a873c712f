"""scikit-learn's digits, which come with the package, for machines without data and network."""

from __future__ import annotations

import numpy as np

from owl.apps.mnist.dataset import PIXELS, SIDE, Dataset, Split, check_split
from owl.apps.mnist.errors import DataError

ZOOM = 3  # 8x8 becomes 24x24, centred in 28x28 as MNIST's own digits are
DARKEST = 16  # the digits count 0 to 16 inked pixels of a 4x4 block
TEST_EVERY = 5


def load_digits() -> Dataset:
    """1797 images of 8x8 brought to 28x28 with MNIST's range of grey; every fifth is a test image."""
    try:
        from sklearn import datasets
    except ImportError:
        raise DataError(
            "no MNIST, and no scikit-learn to stand in for it: name the data with --data or OWL_DATA, "
            "or pip install 'owl-runtime[apps]'"
        ) from None
    bunch = datasets.load_digits()
    grey = np.minimum(bunch.images * 256 / DARKEST, 255).astype(np.uint8)
    zoomed = np.kron(grey, np.ones((1, ZOOM, ZOOM), dtype=np.uint8))
    margin = (SIDE - zoomed.shape[1]) // 2
    images = np.pad(zoomed, ((0, 0), (margin, margin), (margin, margin))).reshape(-1, PIXELS)
    labels = bunch.target.astype(np.uint8)
    held_out = np.arange(len(labels)) % TEST_EVERY == TEST_EVERY - 1
    name = "scikit-learn digits"
    return Dataset(
        check_split(Split(images[~held_out], labels[~held_out]), name),
        check_split(Split(images[held_out], labels[held_out]), name),
        "scikit-learn's digits, 8x8 brought to 28x28 (not MNIST)",
    )
