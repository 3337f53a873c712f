"""How often a step of training calls the driver: launches, copies and their bytes, and waits of the host."""

import json

import pytest

# A long epoch less a short one: so many steps in the middle, where nothing begins or ends.
PROGRAM = """
import json
from owl import _runtime
from owl.apps.mnist.model.cnn import ConvolutionNet
from owl.apps.mnist.model.mlp import Perceptron

BATCH, SHORT, STEPS = 8, 24, 10
SYMBOLS = ["cuLaunchKernel", "cuGraphLaunch", "cuGraphExecKernelNodeSetParams_v2", "cuGraphInstantiateWithFlags",
           "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyPeerAsync", "cuMemAlloc_v2", "cuMemHostAlloc",
           "cuStreamSynchronize", "cuStreamWaitEvent", "cuEventRecord"]
values = np.random.default_rng(0)
images = values.random((64, 784), np.float32)
digits = np.eye(10, dtype=np.float32)[values.integers(0, 10, 64)]

def counts():
    return [control.calls(symbol) for symbol in SYMBOLS] + [control.copied_bytes()]

def epoch(steps):
    before = counts()
    for k in range(steps):
        at = k * BATCH % 64
        data, label = owl.from_numpy(images[at:at + BATCH]), owl.from_numpy(digits[at:at + BATCH])
        _, gradients = net.gradients(data, label)
        net.update(gradients, BATCH, 0.1)
    owl.wait_for_all()
    return [b - a for a, b in zip(before, counts())]

owl.set_device(gpu)
_runtime.set_early_start(False)  # a window for each step, however busy the machine is
net = {net}()
for _ in range(4):  # plans are made, graphs are built, and memory is there for all that runs ahead
    epoch(SHORT + STEPS)
short, long = epoch(SHORT), epoch(SHORT + STEPS)
print(json.dumps({{name: (b - a) / STEPS for name, a, b in zip([*SYMBOLS, "bytes"], short, long)}}))
"""


@pytest.mark.parametrize(
    ("net", "kernels", "graphs"), [("Perceptron", 10, False), ("Perceptron", 10, True), ("ConvolutionNet", 22, True)]
)
def test_a_step_of_training(program, net, kernels, graphs):
    found = program(PROGRAM.format(net=net), arguments="", timeout=120, OWL_CUDA_GRAPHS=str(int(graphs)))
    count = json.loads(found)
    updates = count.pop("cuGraphExecKernelNodeSetParams_v2")
    assert count.pop("cuStreamWaitEvent") <= 2  # fewer, where a copy is over before its reader is launched
    assert count == {
        "cuLaunchKernel": 0 if graphs else kernels,
        "cuGraphLaunch": 1 if graphs else 0,
        "cuGraphInstantiateWithFlags": 0,
        "cuMemcpyHtoDAsync_v2": 2,  # the data and the labels
        "cuMemcpyDtoHAsync_v2": 0,
        "cuMemcpyPeerAsync": 0,
        "cuMemAlloc_v2": 0,
        "cuMemHostAlloc": 0,
        "cuStreamSynchronize": 0,
        "cuEventRecord": 3,  # after both copies, and after the plan
        "bytes": 8 * (784 + 10) * 4,
    }
    # Those that read a batch, or a value whose buffer changes from step to step: weights are updated where they lie.
    assert updates < kernels * 0.75 if graphs else updates == 0
