"""What the training loop, the checkpoints and the command line know of a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from owl import NArray


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

    @abstractmethod
    def predict(self, data: NArray) -> NArray:
        """Probabilities ``[10, n]`` for ``data`` ``[784, n]``."""

    @abstractmethod
    def step(self, data: NArray, label: NArray, rate: float) -> None:
        """One step of gradient descent on ``data`` ``[784, n]`` with one-hot ``label`` ``[10, n]``.

        ``rate`` applies to the mean of the gradients.
        """

    def parameters(self) -> dict[str, NArray]:
        """The current parameters by name."""
        return {name: getattr(self, name) for name in self.shapes}

    def restore(self, parameters: dict[str, NArray]) -> None:
        """Take ``parameters``, which have the names and shapes of ``shapes``, as the current ones."""
        for name in self.shapes:
            setattr(self, name, parameters[name])
