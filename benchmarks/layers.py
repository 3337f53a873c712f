"""Single convolutions, forward and both ways back, against PyTorch in the faster of its two layouts.

owl's arrays are plain, ``[batch][channel][row][column]``; PyTorch runs each convolution in that layout and with
channels last, gradients through the operation that its autograd calls, results freed before the next call. Filters are
turned round once, and before anything is timed both must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.calls import Calls, Read, main, waiting
from benchmarks.harness import threads

DIRECTIONS = ("forward", "data", "filter")


@dataclass(frozen=True)
class Layer:
    """A convolution of square images: channels in, filters out, both divided into groups."""

    batch: int
    channels: int
    size: int
    filters: int
    kernel: int
    pad: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def out(self) -> int:
        return (self.size + 2 * self.pad - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def operations(self) -> int:
        """Additions and multiplications of one direction, by the definition of a convolution."""
        products = self.channels // self.groups * self.kernel**2
        return 2 * self.batch * self.filters * self.out**2 * products

    def arrays(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)

        def normal(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape, np.float32)

        return {
            "x": normal(self.batch, self.channels, self.size, self.size),
            "w": normal(self.filters, self.channels // self.groups, self.kernel, self.kernel),
            "b": normal(self.filters),
            "g": normal(self.batch, self.filters, self.out, self.out),
        }


LAYERS = {
    "MNIST 1st: 5x5, 1 to 16": Layer(256, 1, 28, 16, 5, 0),
    "MNIST 2nd: 5x5, 16 to 32": Layer(256, 16, 12, 32, 5, 2),
    "3x3, 3 to 64, 32x32": Layer(64, 3, 32, 64, 3, 1),
    "3x3, 64 to 64, 56x56": Layer(8, 64, 56, 64, 3, 1),
    "3x3, 256 to 256, 14x14": Layer(16, 256, 14, 256, 3, 1),
    "3x3 stride 2, 128 to 128, 56x56": Layer(8, 128, 56, 128, 3, 1, stride=2),
    "3x3 dilated by 2, 64 to 64, 28x28": Layer(8, 64, 28, 64, 3, 2, dilation=2),
    "7x7 stride 2, 3 to 64, 224x224": Layer(2, 3, 224, 64, 7, 3, stride=2),
    "1x1, 256 to 64, 56x56": Layer(4, 256, 56, 64, 1, 0),
    "1x1, 64 to 256, 56x56": Layer(4, 64, 56, 256, 1, 0),
    "1x1, 512 to 512, 7x7": Layer(32, 512, 7, 512, 1, 0),
    "3x3 depthwise, 96, 56x56": Layer(8, 96, 56, 96, 3, 1, groups=96),
    "3x3 depthwise stride 2, 144, 56x56": Layer(8, 144, 56, 144, 3, 1, stride=2, groups=144),
    "5x5 depthwise, 240, 14x14": Layer(32, 240, 14, 240, 5, 2, groups=240),
    "3x3 in 32 groups, 128 to 128, 28x28": Layer(8, 128, 28, 128, 3, 1, groups=32),
}


def owl_calls(layer: Layer) -> tuple[Calls, Read]:
    import owl
    from owl import conv

    owl.set_num_threads(threads())
    owl.set_device(owl.create_cpu_device())
    arrays = {name: owl.from_numpy(array) for name, array in layer.arrays().items()}
    x, w, b, g = (arrays[name] for name in "xwbg")
    convolver = conv.Convolver(
        *(layer.pad, layer.pad, layer.stride, layer.stride),
        dilation_v=layer.dilation,
        dilation_h=layer.dilation,
        groups=layer.groups,
    )
    calls = {
        "forward": waiting(lambda: convolver.ff(x, w, b)),
        "data": waiting(lambda: convolver.bp(g, x, w)),
        "filter": waiting(lambda: convolver.weight_grad(g, x, w)),
    }
    return calls, lambda result: result.to_numpy()


def torch_calls(layer: Layer, channels_last: bool) -> tuple[Calls, Read]:
    import torch
    import torch.nn.functional as F

    torch.set_grad_enabled(False)
    torch.set_num_threads(threads())
    arrays = layer.arrays()
    arrays["w"] = arrays["w"][:, :, ::-1, ::-1].copy()
    memory = torch.channels_last if channels_last else torch.contiguous_format
    x, w, g = (torch.tensor(arrays[name]).to(memory_format=memory) for name in "xwg")
    b = torch.tensor(arrays["b"])
    stride, pad, dilation = ([n, n] for n in (layer.stride, layer.pad, layer.dilation))

    def backward(*wanted: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            *(g, x, w, [layer.filters], stride, pad, dilation, False, [0, 0], layer.groups), list(wanted)
        )

    calls = {
        "forward": lambda: F.conv2d(x, w, b, stride, pad, dilation, layer.groups),
        "data": lambda: backward(True, False, False)[0],
        "filter": lambda: backward(False, True, False)[1].flip(2, 3),
    }
    return calls, lambda result: result.contiguous().numpy()


if __name__ == "__main__":
    main(
        "benchmarks.layers",
        __doc__,
        {
            "owl": lambda name: owl_calls(LAYERS[name]),
            "plain": lambda name: torch_calls(LAYERS[name], False),
            "channels last": lambda name: torch_calls(LAYERS[name], True),
        },
        {name: layer.operations for name, layer in LAYERS.items()},
        DIRECTIONS,
        "ms",
    )
