"""Random shifts and rotations of images, a whole batch in one call of SciPy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from owl.apps.mnist.dataset import SIDE, Images

ANGLE = math.radians(12)
SHIFT = 2.0  # pixels
_CENTRE = (SIDE - 1) / 2
_AUGMENTING = 1  # sets these draws apart from the order of the epoch, which has the same seed

Motions = NDArray[np.float64]


def motions(seed: int, epoch: int, images: int) -> Motions:
    """An angle and two shifts for each image, ``[images, 3]``.

    An image's motion depends on seed, epoch and its index, and not on the batch it comes in.
    """
    random = np.random.default_rng([seed, epoch, _AUGMENTING])
    return random.uniform(-1, 1, (images, 3)) * (ANGLE, SHIFT, SHIFT)


def move(images: Images, moves: Motions) -> Images:
    """Each image ``[n, 784]`` turned about its centre and shifted, linearly interpolated; what comes in is black."""
    from scipy.ndimage import map_coordinates

    count = len(images)
    angle, down, right = (column[:, None, None] for column in moves.T)
    cos, sin = np.cos(angle), np.sin(angle)
    row = np.arange(SIDE)[:, None] - _CENTRE - down
    column = np.arange(SIDE)[None, :] - _CENTRE - right
    # Where each pixel comes from. The stack is one volume: a whole number as first coordinate stays within an image.
    places = np.empty((3, count, SIDE, SIDE))
    places[0] = np.arange(count)[:, None, None]
    np.add(cos * row - sin * column, _CENTRE, out=places[1])
    np.add(sin * row + cos * column, _CENTRE, out=places[2])
    moved = map_coordinates(images.reshape(count, SIDE, SIDE), places, order=1, output=np.uint8, prefilter=False)
    return moved.reshape(count, -1)
