"""The perceptron of the walkthrough: 784 inputs, 256 rectified hidden units, softmax over 10 digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.apps.mnist.dataset import CLASSES, PIXELS, SIDE
from owl.apps.mnist.model.base import Images, Model

if TYPE_CHECKING:
    from owl import NArray

HIDDEN = 256


class Perceptron(Model):
    """``softmax(w2 * relu(w1 * x + b1) + b2)`` with hand-written gradients of the cross entropy."""

    name = "mlp"
    rate = 0.5
    shapes: ClassVar[dict[str, list[int]]] = {
        "w1": [HIDDEN, PIXELS],
        "b1": [HIDDEN, 1],
        "w2": [CLASSES, HIDDEN],
        "b2": [CLASSES, 1],
    }

    def __init__(self) -> None:
        # He's scale for the rectified layer; softmax takes half that variance
        self.w1 = owl.randn(self.shapes["w1"], 0.0, math.sqrt(2 / PIXELS))
        self.b1 = owl.zeros(self.shapes["b1"])
        self.w2 = owl.randn(self.shapes["w2"], 0.0, math.sqrt(1 / HIDDEN))
        self.b2 = owl.zeros(self.shapes["b2"])

    def predict(self, data: NArray) -> NArray:
        """Probabilities ``[10, n]`` for ``data`` ``[784, n]``."""
        a1 = ele.relu(self.w1 * data + self.b1)
        return conv.softmax(self.w2 * a1 + self.b2)

    def gradients(self, data: NArray, label: NArray) -> tuple[NArray, dict[str, NArray]]:
        """The scores before softmax, and the sums of the gradients of the cross entropy over a batch."""
        # forward
        a1 = ele.relu(self.w1 * data + self.b1)
        z2 = self.w2 * a1 + self.b2
        # backward
        s2 = conv.cross_entropy_back(z2, label)
        s1 = ele.relu_back(self.w2.trans() * s2, a1)
        return z2, {"w1": s1 * data.trans(), "b1": s1.sum(1), "w2": s2 * a1.trans(), "b2": s2.sum(1)}

    def update(self, gradients: dict[str, NArray], images: int, rate: float) -> None:
        """A step of gradient descent."""
        rate /= images
        for name, gradient in gradients.items():
            setattr(self, name, getattr(self, name) - rate * gradient)

    def filters(self) -> Images:
        """The weights of each hidden unit as an image, ``[256, 28, 28]``."""
        return np.ascontiguousarray(self.w1.to_numpy().T).reshape(HIDDEN, SIDE, SIDE)
