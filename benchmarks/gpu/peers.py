"""The nets' steps on a GPU by PyTorch, as far as its public operations go.

A batch goes through pinned memory, of which there are a few buffers, so that copies run beside computing. Where PyTorch
has no GPU, it computes on the CPU: the benchmark can then be tested, and its figures mean nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks import peers, peers_cnn

BUFFERS = 4


class Uploader:
    """Copies batches to two tensors of the GPU that stay where they are."""

    def __init__(self, device: torch.device, shapes: list[tuple[int, ...]]) -> None:
        self.cuda = device.type == "cuda"
        self.targets = [torch.empty(shape, device=device) for shape in shapes]
        made = [[torch.empty(shape, pin_memory=self.cuda) for shape in shapes] for _ in range(BUFFERS)]
        self.buffers: Iterator[tuple[list[torch.Tensor], Any]] = self.turns(made)

    def turns(self, made: list[list[torch.Tensor]]) -> Iterator[tuple[list[torch.Tensor], Any]]:
        events = [torch.cuda.Event() if self.cuda else None for _ in made]
        while True:
            yield from zip(made, events)

    def __call__(self, *arrays: np.ndarray) -> None:
        buffers, event = next(self.buffers)
        if event is not None:
            event.synchronize()  # its last copy is over
        for array, buffer, target in zip(arrays, buffers, self.targets):
            buffer.copy_(torch.from_numpy(array).view(buffer.shape))
            target.copy_(buffer, non_blocking=True)
        if event is not None:
            event.record()


class Step:
    """A tuned step of `benchmarks.peers` or `benchmarks.peers_cnn` with its tensors on the GPU.

    `how`: ``"eager"``, ``"graph"`` (a CUDA graph, captured by hand), or ``"compile"`` (``torch.compile`` with
    ``mode="reduce-overhead"``).
    """

    def __init__(self, net: str, parameters: dict[str, np.ndarray], rate: float, how: str, tf32: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kind = peers.TunedStep if net == "perceptron" else peers_cnn.TunedNet
        self.step: Any = kind(parameters, rate, torch.get_num_threads())
        for name, value in vars(self.step).items():
            if isinstance(value, torch.Tensor):
                setattr(self.step, name, value.to(self.device))
        self.image = (784,) if net == "perceptron" else (1, 28, 28)
        self.how, self.run = how, self.step.train
        self.upload: Uploader | None = None
        if how == "compile":
            self.run = torch.compile(self.step.train, mode="reduce-overhead")

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        if self.upload is None:
            self.upload = Uploader(self.device, [(len(x), *self.image), y.shape])
            if self.how == "graph" and self.device.type == "cuda":
                self.run = self.captured()
        self.upload(x, y)
        self.run(*self.upload.targets)

    def captured(self) -> Callable[..., None]:
        """The step as a CUDA graph. The steps that it takes before it is captured are taken back."""
        assert self.upload is not None
        kept = {name: value.clone() for name, value in vars(self.step).items() if isinstance(value, torch.Tensor)}
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self.step.train(*self.upload.targets)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step.train(*self.upload.targets)
        for name, value in kept.items():
            getattr(self.step, name).copy_(value)
        return lambda *_: graph.replay()

    def finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def parameters(self) -> dict[str, np.ndarray]:
        """On the host. The step's own tensors stay where a graph knows them to be."""
        step = copy.copy(self.step)
        for name, value in vars(self.step).items():
            if isinstance(value, torch.Tensor):
                setattr(step, name, value.cpu())
        return step.parameters()
