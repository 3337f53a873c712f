"""A step of the convolution net on a CPU and on a GPU: the same bits, and gradients of filters within their bound."""

import numpy as np

import owl
from owl.apps.mnist.model.cnn import ConvolutionNet
from tests.agreement import same_on_a_gpu
from tests.convolution_reference import Convolution

BATCH, UNIT = 96, 2.0**-24
STRETCH, LANES = 256, 128  # of the sums in conv_filter.cu
rng = np.random.default_rng(3)
images = rng.random((BATCH, 784), np.float32)
digits = np.eye(10, dtype=np.float32)[rng.integers(0, 10, BATCH)]


class Watched:
    """A layer, with the arguments and the result of each call."""

    def __init__(self, layer):
        self.layer, self.calls = layer, {}

    def __getattr__(self, method):
        def call(*arguments):
            self.calls[method] = arguments, getattr(self.layer, method)(*arguments)
            return self.calls[method][1]

        return call


found = []
for device in (owl.create_cpu_device(), owl.create_gpu_device(0)):
    owl.set_device(device)
    owl.seed(5)
    net = ConvolutionNet()
    layers = {name: Watched(getattr(net, name)) for name in ("conv1", "conv2", "pool1", "pool2")}
    for name, layer in layers.items():
        setattr(net, name, layer)
    data, label = owl.from_numpy(images), owl.from_numpy(digits)
    forward = net.forward(data.reshape([28, 28, 1, BATCH]))
    scores, gradients = net.gradients(data, label)
    back = [layer.calls["bp"][1] for layer in layers.values() if "bp" in layer.calls]
    dense = [gradients["w3"], gradients["b3"]]
    exactly = [value.to_numpy() for value in (*forward, scores, *back, *dense)]
    gradient = {
        f"{name} {method}": ([np.asarray(x.to_numpy(), float) for x in arguments], result.to_numpy())
        for name in ("conv1", "conv2")
        for method, (arguments, result) in layers[name].calls.items()
        if method.endswith("_grad")
    }
    found.append((exactly, gradient))
(exactly, _), (there, of_gpu) = found
assert len(exactly) == 5 + 1 + 3 + 2
for a, b in zip(exactly, there):
    same_on_a_gpu(a, b)

for key, (arguments, result) in of_gpu.items():
    diff = arguments[0]
    positions = diff[:, 0].size
    if "bias" in key:
        exact, terms = diff.sum((0, 2, 3)), np.abs(diff).sum((0, 2, 3))
        roundings = 7 + 2 * positions / LANES  # the most, in however many parts
    else:
        reference = Convolution(pad=(2, 2)) if "conv2" in key else Convolution()
        exact = reference.filter_gradient(*arguments)
        terms = reference.filter_gradient(*map(np.abs, arguments))
        roundings = STRETCH + 2 * positions / STRETCH + 2
    assert np.all(np.abs(result.ravel() - exact.ravel()) <= (roundings + 1) * UNIT * terms.ravel()), key
print(sorted(of_gpu))
