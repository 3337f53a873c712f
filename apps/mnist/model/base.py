"""What the training loop, the checkpoints and the command line know of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from owl import NArray

Images = NDArray[np.float32]


class Model(ABC):
    """A network whose parameters are attributes named in ``shapes``.

    Creating one draws its initial parameters on the current device. Nothing here evaluates or blocks.
    """

    name: ClassVar[str]
    """What the user types, and what checkpoints carry."""
    rate: ClassVar[float]
    """The learning rate that suits it."""
    shapes: ClassVar[dict[str, list[int]]]
    """Its parameters with their owl shapes."""

    def expect(self, steps: int) -> None:  # noqa: B027 - most have nothing to prepare
        """There will be that many steps, if all goes well: said before the first one."""

    @abstractmethod
    def predict(self, data: NArray) -> NArray:
        """Probabilities ``[10, n]`` for ``data`` ``[784, n]``."""

    @abstractmethod
    def gradients(self, data: NArray, label: NArray) -> tuple[NArray, dict[str, NArray]]:
        """What ``predict`` gives for ``data`` ``[784, n]``, and the gradients of the cross entropy by parameter.

        ``label`` is one-hot, ``[10, n]``. The gradients are sums over the batch, so those of its parts add up.
        """

    @abstractmethod
    def update(self, gradients: dict[str, NArray], images: int, rate: float) -> None:
        """Go down the gradients of that many images; ``rate`` applies to their mean."""

    def step(self, data: NArray, label: NArray, rate: float) -> NArray:
        """One step of gradient descent on a batch; returns the probabilities before it."""
        output, gradients = self.gradients(data, label)
        self.update(gradients, data.shape[1], rate)
        return output

    @abstractmethod
    def filters(self) -> Images:
        """What the units of the first layer look for, ``[units, height, width]``; evaluates and blocks."""

    def parameters(self) -> dict[str, NArray]:
        """The current parameters by name."""
        return {name: getattr(self, name) for name in self.shapes}

    def restore(self, parameters: dict[str, NArray]) -> None:
        """Take ``parameters``, which have the names and shapes of ``shapes``, as the current ones."""
        for name in self.shapes:
            setattr(self, name, parameters[name])
