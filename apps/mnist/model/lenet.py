"""A net of which only the forward pass is written: owl records the gradients, and an optimizer makes the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.apps.mnist.dataset import CLASSES
from owl.apps.mnist.model.base import Images, Model
from owl.apps.mnist.model.cnn import as_images

if TYPE_CHECKING:
    from owl import NArray

FEATURES = 800  # 5 x 5 pixels of 32 channels
HIDDEN = 128
DECAY = 0.05

FIRST, SECOND = conv.Convolver(2, 2, 1, 1), conv.Convolver(0, 0, 1, 1)
POOL = conv.Pooler(2, 2, 2, 2)


def forward(p: dict[str, NArray], images: NArray) -> NArray:
    """The scores before softmax, ``[10, n]``, of images ``[28, 28, 1, n]``."""
    h = POOL.ff(ele.relu(FIRST.ff(images, p["w1"], p["b1"])))
    h = POOL.ff(ele.relu(SECOND.ff(h, p["w2"], p["b2"])))
    h = ele.relu(p["w3"] * h.reshape([FEATURES, images.shape[3]]) + p["b3"])
    return p["w4"] * h + p["b4"]


def loss(p: dict[str, NArray], images: NArray, label: NArray) -> tuple[NArray, NArray]:
    """The cross entropy, summed over the batch, and the scores."""
    scores = forward(p, images)
    return conv.cross_entropy(scores, label).sum(), scores


class LeNet(Model):
    """Two convolutions 5x5 with pooling 2x2, two matrices, softmax: after LeCun and others, 1998, with rectifiers."""

    name = "lenet"
    rate = 2e-3
    shapes: ClassVar[dict[str, list[int]]] = {
        "w1": [5, 5, 1, 16],
        "b1": [16],
        "w2": [5, 5, 16, 32],
        "b2": [32],
        "w3": [HIDDEN, FEATURES],
        "b3": [HIDDEN, 1],
        "w4": [CLASSES, HIDDEN],
        "b4": [CLASSES, 1],
    }

    w1: NArray

    def __init__(self) -> None:
        for name, shape in self.shapes.items():
            inputs = shape[1] if len(shape) == 2 else math.prod(shape[:-1])
            weights = name.startswith("w")  # He's scale, as all layers but the last are rectified
            setattr(self, name, owl.randn(shape, 0.0, math.sqrt(2 / inputs)) if weights else owl.zeros(shape))
        self.steps = 1
        self.optimizer: owl.optim.Optimizer | None = None
        self.state: dict[str, Any] = {}

    def expect(self, steps: int) -> None:
        """The learning rate falls to 0 in that many steps, along a cosine."""
        self.steps = max(steps, 1)

    def predict(self, data: NArray) -> NArray:
        """Probabilities ``[10, n]`` for ``data`` ``[784, n]``."""
        return conv.softmax(forward(self.parameters(), as_images(data)))

    def gradients(self, data: NArray, label: NArray) -> tuple[NArray, dict[str, NArray]]:
        """The scores before softmax, and the sums of the gradients of the cross entropy over a batch."""
        (_, scores), gradients = owl.value_and_grad(loss, has_aux=True)(self.parameters(), as_images(data), label)
        return scores, gradients

    def update(self, gradients: dict[str, NArray], images: int, rate: float) -> None:
        """A step of AdamW on the mean gradients."""
        if self.optimizer is None:
            self.optimizer = owl.optim.AdamW(owl.optim.cosine(rate, self.steps), weight_decay=DECAY)
            self.state = self.optimizer.init(self.parameters())
        means = {name: gradient / images for name, gradient in gradients.items()}
        parameters, self.state = self.optimizer.update(means, self.state, self.parameters())
        self.restore(parameters)

    def filters(self) -> Images:
        """The 16 filters of the first layer, ``[16, 5, 5]``, the way round in which they meet the image."""
        return np.ascontiguousarray(self.w1.to_numpy()[:, 0, ::-1, ::-1])
