"""Batches of a pipeline are tensors of PyTorch's over the same memory, which is not used again while PyTorch has it."""

import gc
import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest

from owl.aio.pipeline import Pipeline
from tests.support.processes import ROOT, environment

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.cpu("PyTorch reads memory of the host")

EXAMPLE = ROOT / "examples" / "train_torch.py"
SIZE = 20_000  # elements of an item: two of them are a batch that lies in reusable memory
WAYS = {"from_numpy": torch.from_numpy, "from_dlpack": torch.from_dlpack}


def items(n):
    return [np.full(SIZE, k, np.float32) for k in range(n)]


@pytest.fixture(params=WAYS)
def pipe(request):
    """Batches of two items as tensors, each with the address that NumPy knew it by; that of later batches follows."""
    way = WAYS[request.param]
    return Pipeline(items(80)).batch(2).map(lambda batch: (way(batch), batch.ctypes.data)).prefetch(2)


def test_tensors_lie_where_the_pipeline_stacked(pipe):
    for k, (tensor, address) in enumerate(pipe):
        assert tensor.data_ptr() == address
        assert tensor.shape == (2, SIZE)
        assert tensor[:, -1].tolist() == [2 * k, 2 * k + 1]


def test_memory_comes_back_when_pytorch_lets_go(pipe):
    assert len({address for _, address in pipe}) < 10  # of 40 batches


def test_what_pytorch_holds_is_not_overwritten(pipe):
    held = [tensor for tensor, _ in pipe]
    assert len({tensor.data_ptr() for tensor in held}) == 40
    for k, tensor in enumerate(held):
        assert (tensor[0] == 2 * k).all()
        assert (tensor[1] == 2 * k + 1).all()


def test_a_view_of_a_tensor_holds_its_batch(pipe):
    ends = [tensor[1, -3:] for tensor, _ in pipe]
    assert [end.tolist() for end in ends] == [[2 * k + 1] * 3 for k in range(40)]


def test_a_graph_that_is_differentiated_late_reads_its_own_batches(pipe):
    weights = torch.ones(SIZE, requires_grad=True)
    total = sum((tensor @ weights).sum() for tensor, _ in pipe)
    gc.collect()
    total.backward()
    assert (weights.grad == sum(range(80))).all()


def test_tensors_outlive_their_pipeline():
    kept = [torch.from_numpy(batch) for batch in Pipeline(items(6)).batch(2)]
    gc.collect()
    others = [torch.full((2, SIZE), -1.0) for _ in range(6)]
    assert [tensor[0, 0].item() for tensor in kept] == [0, 2, 4]
    del others


def test_the_examples_loss_falls():
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--epochs", "3", "--samples", "1500", "--batch", "128"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    losses = [float(text) for text in re.findall(r"loss (\S+)", done.stdout)]
    assert len(losses) == 3
    assert losses[2] < losses[0] / 2


def test_the_examples_batches_share_memory_with_the_pipeline(monkeypatch):
    spec = importlib.util.spec_from_file_location("train_torch", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    addresses = []

    def tensors(batch):
        addresses.append(batch[0].ctypes.data)
        return made(batch)

    made = example.tensors
    monkeypatch.setattr(example, "tensors", tensors)
    seen = [points.data_ptr() for points, _ in example.batches(example.Samples(1500), 250)]
    assert seen == addresses
    assert len(seen) == 6
