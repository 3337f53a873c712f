"""The convolution net of the walkthrough: two convolutions with pooling, and softmax over 10 digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

import owl
import owl.conv as conv
import owl.elewise as ele
from owl.apps.mnist.dataset import CLASSES, SIDE
from owl.apps.mnist.model.base import Images, Model

if TYPE_CHECKING:
    from owl import NArray

FEATURES = 512  # 4 x 4 pixels of 32 channels
MOMENTUM = 0.75
DECAY = 5e-4  # of the weights, not of the biases


class ConvolutionNet(Model):
    """Convolution 5x5 to 16 channels, pooling 2x2, convolution 5x5 to 32 channels, pooling 3x3, a matrix, softmax."""

    name = "cnn"
    rate = 0.1
    shapes: ClassVar[dict[str, list[int]]] = {
        "w1": [5, 5, 1, 16],
        "b1": [16],
        "w2": [5, 5, 16, 32],
        "b2": [32],
        "w3": [CLASSES, FEATURES],
        "b3": [CLASSES, 1],
    }

    w1: NArray
    b1: NArray
    w2: NArray
    b2: NArray
    w3: NArray
    b3: NArray

    def __init__(self) -> None:
        self.conv1, self.conv2 = conv.Convolver(0, 0, 1, 1), conv.Convolver(2, 2, 1, 1)
        self.pool1, self.pool2 = conv.Pooler(2, 2, 2, 2), conv.Pooler(3, 3, 3, 3)
        for name, shape in self.shapes.items():
            setattr(self, name, owl.randn(shape, 0.0, 0.1) if name.startswith("w") else owl.zeros(shape))
        self.velocity = {name: owl.zeros(shape) for name, shape in self.shapes.items()}

    def forward(self, data: NArray) -> tuple[NArray, ...]:
        """The activations of the layers, for ``data`` ``[28, 28, 1, n]``."""
        a1 = ele.relu(self.conv1.ff(data, self.w1, self.b1))
        p1 = self.pool1.ff(a1)
        a2 = ele.relu(self.conv2.ff(p1, self.w2, self.b2))
        p2 = self.pool2.ff(a2)
        scores = self.w3 * p2.reshape([FEATURES, data.shape[3]]) + self.b3
        return a1, p1, a2, p2, scores

    def predict(self, data: NArray) -> NArray:
        """Probabilities ``[10, n]`` for ``data`` ``[784, n]``."""
        return conv.softmax(self.forward(as_images(data))[-1])

    def gradients(self, data: NArray, label: NArray) -> tuple[NArray, dict[str, NArray]]:
        """The scores before softmax, and the sums of the gradients of the cross entropy over a batch."""
        images = as_images(data)
        a1, p1, a2, p2, scores = self.forward(images)
        s3 = conv.cross_entropy_back(scores, label)
        features = p2.reshape([FEATURES, data.shape[1]])
        e2 = (self.w3.trans() * s3).reshape(p2.shape)
        s2 = ele.relu_back(self.pool2.bp(e2, p2, a2), a2)
        e1 = self.conv2.bp(s2, p1, self.w2)
        s1 = ele.relu_back(self.pool1.bp(e1, p1, a1), a1)
        return scores, {
            "w1": self.conv1.weight_grad(s1, images, self.w1),
            "b1": self.conv1.bias_grad(s1),
            "w2": self.conv2.weight_grad(s2, p1, self.w2),
            "b2": self.conv2.bias_grad(s2),
            "w3": s3 * features.trans(),
            "b3": s3.sum(1),
        }

    def update(self, gradients: dict[str, NArray], images: int, rate: float) -> None:
        """A step of gradient descent with momentum and decay."""
        for name, gradient in gradients.items():
            parameter = getattr(self, name)
            change = MOMENTUM * self.velocity[name] - rate / images * gradient
            if name.startswith("w"):
                change -= rate * DECAY * parameter
            self.velocity[name] = change
            setattr(self, name, parameter + change)

    def filters(self) -> Images:
        """The 16 filters of the first layer, ``[16, 5, 5]``, the way round in which they meet the image."""
        return np.ascontiguousarray(self.w1.to_numpy()[:, 0, ::-1, ::-1])


def as_images(data: NArray) -> NArray:
    """``[784, n]`` as ``[28, 28, 1, n]``."""
    return data.reshape([SIDE, SIDE, 1, data.shape[1]])
