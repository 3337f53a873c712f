"""The convolution net's step in PyTorch: channels last, gradients by hand through operations that autograd calls."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

aten = torch.ops.aten


class TunedNet:
    """The step of `benchmarks.step_cnn`, with updates in place and inputs copied into tensors that stay."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int) -> None:
        torch.set_num_threads(threads)
        # PyTorch correlates: its filters are turned round.
        filters = {name: torch.tensor(parameters[name][:, :, ::-1, ::-1].copy()) for name in ("w1", "w2")}
        self.w1, self.w2 = (filters[name].to(memory_format=torch.channels_last) for name in ("w1", "w2"))
        self.b1, self.b2, self.b3 = (torch.tensor(parameters[name]).reshape(-1) for name in ("b1", "b2", "b3"))
        self.w3 = torch.tensor(parameters["w3"])
        self.x = self.y = torch.empty(0)
        self.alpha = -rate

    @torch.no_grad()
    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        shape = (len(x), 1, 28, 28)
        if self.x.shape != shape:
            self.x = torch.empty(shape).to(memory_format=torch.channels_last)
            self.y = torch.empty(y.shape)
        self.train(self.x.copy_(torch.from_numpy(x).view(shape)), self.y.copy_(torch.from_numpy(y)))

    @torch.no_grad()
    def train(self, data: torch.Tensor, label: torch.Tensor) -> None:
        """One step on tensors that lie beside the parameters."""
        a1 = F.conv2d(data, self.w1, self.b1).relu_()
        p1, at1 = F.max_pool2d(a1, 2, 2, return_indices=True)
        a2 = F.conv2d(p1, self.w2, self.b2, padding=2).relu_()
        p2, at2 = F.max_pool2d(a2, 3, 3, return_indices=True)
        features = p2.reshape(len(data), -1)
        s3 = torch.softmax(torch.addmm(self.b3, features, self.w3), 1).sub_(label)
        e2 = (s3 @ self.w3.t()).view(p2.shape).contiguous(memory_format=torch.channels_last)
        u2 = aten.max_pool2d_with_indices_backward(e2, a2, [3, 3], [3, 3], [0, 0], [1, 1], False, at2)
        s2 = aten.threshold_backward(u2, a2, 0)
        e1, g2, gb2 = self.convolution_backward(s2, p1, self.w2, 2, True)
        u1 = aten.max_pool2d_with_indices_backward(e1, a1, [2, 2], [2, 2], [0, 0], [1, 1], False, at1)
        _, g1, gb1 = self.convolution_backward(aten.threshold_backward(u1, a1, 0), data, self.w1, 0, False)
        for parameter, gradient in ((self.w1, g1), (self.b1, gb1), (self.w2, g2), (self.b2, gb2), (self.b3, s3.sum(0))):
            parameter.add_(gradient, alpha=self.alpha)
        self.w3.addmm_(features.t(), s3, alpha=self.alpha)

    @staticmethod
    def convolution_backward(
        gradient: torch.Tensor, data: torch.Tensor, filters: torch.Tensor, pad: int, wants_data: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return aten.convolution_backward(
            *(gradient, data, filters, [len(filters)], [1, 1], [pad, pad], [1, 1], False, [0, 0], 1),
            [wants_data, True, True],
        )

    def finish(self) -> None:
        """Nothing to wait for: every operation has ended when its call returns."""

    def parameters(self) -> dict[str, np.ndarray]:
        filters = {name: getattr(self, name).contiguous().numpy()[:, :, ::-1, ::-1].copy() for name in ("w1", "w2")}
        return {**filters, **{name: getattr(self, name).numpy() for name in ("b1", "b2", "w3", "b3")}}


class AutogradNet:
    """``nn.Conv2d``, ``nn.Linear``, ``cross_entropy``, ``backward()`` and ``optim.SGD``, channels last."""

    def __init__(self, parameters: dict[str, np.ndarray], rate: float, threads: int) -> None:
        torch.set_num_threads(threads)
        self.first, self.second = torch.nn.Conv2d(1, 16, 5), torch.nn.Conv2d(16, 32, 5, padding=2)
        self.last = torch.nn.Linear(512, 10)
        with torch.no_grad():
            for layer, name in ((self.first, "1"), (self.second, "2")):
                layer.weight.copy_(torch.tensor(parameters[f"w{name}"][:, :, ::-1, ::-1].copy()))
                layer.bias.copy_(torch.tensor(parameters[f"b{name}"]))
            self.last.weight.copy_(torch.tensor(parameters["w3"].T.copy()))
            self.last.bias.copy_(torch.tensor(parameters["b3"]).reshape(-1))
        self.layers = torch.nn.ModuleList([self.first, self.second, self.last]).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.layers.parameters(), lr=rate)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        data = torch.tensor(x).view(len(x), 1, 28, 28).to(memory_format=torch.channels_last)
        h = F.max_pool2d(torch.relu(self.first(data)), 2, 2)
        h = F.max_pool2d(torch.relu(self.second(h)), 3, 3)
        output = self.last(h.reshape(len(x), -1))
        F.cross_entropy(output, torch.tensor(y), reduction="sum").backward()
        self.optimizer.step()

    def finish(self) -> None:
        """Nothing to wait for: every operation has ended when its call returns."""

    def parameters(self) -> dict[str, np.ndarray]:
        tensors = {"w3": self.last.weight.T, "b3": self.last.bias}
        for layer, name in ((self.first, "1"), (self.second, "2")):
            tensors[f"w{name}"] = layer.weight.contiguous().flip(2, 3)
            tensors[f"b{name}"] = layer.bias
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}
