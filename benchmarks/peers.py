"""The same work in PyTorch: once tuned by hand as far as its public operations go, once as it is usually written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


class TunedStep:
    """Gradients by hand, updates by in-place ``addmm_``, inputs copied into tensors that stay."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int) -> None:
        torch.set_num_threads(threads)
        self.w1, self.b1, self.w2, self.b2 = (torch.tensor(parameters[name]) for name in ("w1", "b1", "w2", "b2"))
        self.b1, self.b2 = self.b1.reshape(-1), self.b2.reshape(-1)
        self.x = self.y = torch.empty(0, 0)
        self.alpha = -rate

    @torch.no_grad()
    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        if self.x.shape != x.shape:
            self.x, self.y = torch.empty(x.shape), torch.empty(y.shape)
        self.train(self.x.copy_(torch.from_numpy(x)), self.y.copy_(torch.from_numpy(y)))

    @torch.no_grad()
    def train(self, data: torch.Tensor, label: torch.Tensor) -> None:
        """One step on tensors that lie beside the parameters."""
        hidden = torch.addmm(self.b1, data, self.w1).relu_()
        delta2 = torch.softmax(torch.addmm(self.b2, hidden, self.w2), 1).sub_(label)
        delta1 = torch.ops.aten.threshold_backward(delta2 @ self.w2.t(), hidden, 0)
        self.w2.addmm_(hidden.t(), delta2, alpha=self.alpha)
        self.b2.add_(delta2.sum(0), alpha=self.alpha)
        self.w1.addmm_(data.t(), delta1, alpha=self.alpha)
        self.b1.add_(delta1.sum(0), alpha=self.alpha)

    def finish(self) -> None:
        """Nothing to wait for: every operation has ended when its call returns."""

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name).numpy() for name in ("w1", "b1", "w2", "b2")}


class AutogradStep:
    """``nn.Linear``, ``cross_entropy``, ``backward()`` and ``optim.SGD``."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int) -> None:
        torch.set_num_threads(threads)
        inputs, hidden = parameters["w1"].shape
        outputs = parameters["w2"].shape[1]
        self.first, self.second = torch.nn.Linear(inputs, hidden), torch.nn.Linear(hidden, outputs)
        with torch.no_grad():
            self.first.weight.copy_(torch.from_numpy(parameters["w1"].T))
            self.first.bias.copy_(torch.from_numpy(parameters["b1"].reshape(-1)))
            self.second.weight.copy_(torch.from_numpy(parameters["w2"].T))
            self.second.bias.copy_(torch.from_numpy(parameters["b2"].reshape(-1)))
        self.optimizer = torch.optim.SGD([*self.first.parameters(), *self.second.parameters()], lr=rate)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        output = self.second(torch.relu(self.first(torch.tensor(x))))
        F.cross_entropy(output, torch.tensor(y), reduction="sum").backward()
        self.optimizer.step()

    def finish(self) -> None:
        """Nothing to wait for: every operation has ended when its call returns."""

    def parameters(self) -> dict[str, np.ndarray]:
        tensors = {"w1": self.first.weight.T, "b1": self.first.bias, "w2": self.second.weight.T, "b2": self.second.bias}
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def small_operations(size: int) -> tuple[Any, Any, dict[str, Callable[..., Any]]]:
    """Two vectors of `size` elements, and the operations whose cost is almost all overhead."""
    torch.set_num_threads(1)
    return torch.ones(size), torch.ones(size), {"add": torch.add, "relu": torch.relu}
