"""Shapes, dtypes, axes and devices are checked while recording: the error is raised at the line that wrote it."""

import sys
import traceback

import numpy as np
import pytest

import owl
from owl import _runtime

WRONG = {
    "broadcast": (lambda: owl.zeros([2, 3]) + owl.zeros([3, 2]), ValueError),
    "matrix product": (lambda: owl.zeros([2, 3]) * owl.zeros([2, 3]), ValueError),
    "product of vectors": (lambda: owl.zeros([2]) * owl.zeros([2]), ValueError),
    "reshape": (lambda: owl.zeros([2, 3]).reshape([5]), ValueError),
    "axis": (lambda: owl.zeros([2, 3]).sum(2), IndexError),
    "argmax": (lambda: owl.zeros([2, 3]).argmax(-4), IndexError),
    "index": (lambda: owl.zeros([2, 3])[2], IndexError),
    "max of nothing": (lambda: owl.zeros([0, 3]).max(0), ValueError),
    "concat": (lambda: owl.concat([owl.zeros([2, 3]), owl.zeros([3, 3])], 1), ValueError),
    "dtype": (lambda: owl.zeros([2], dtype=np.int32), TypeError),
    "operand": (lambda: owl.elewise.mult(owl.zeros([2]), "two"), TypeError),
    "ndarray product": (lambda: owl.zeros([2, 2]) * np.zeros((2, 2), np.float32), TypeError),
    "device": (lambda: owl.zeros([2]).to(1000), RuntimeError),
    "set_device": (lambda: owl.set_device(1000), RuntimeError),
    "shape": (lambda: owl.zeros([-1]), ValueError),
    "dimensions": (lambda: owl.zeros([1] * 9), ValueError),
    "in place": (lambda: owl.zeros([1]).__isub__(owl.zeros([3])), ValueError),
}


@pytest.mark.parametrize("name", WRONG)
def test_raises_at_the_line_that_wrote_it(name):
    wrong, builtin = WRONG[name]
    before = _runtime.planner_counters()["nodes"]
    with pytest.raises(builtin) as raised:
        wrong()
    assert isinstance(raised.value, owl.OwlError)
    frames = traceback.extract_tb(raised.value.__traceback__)
    python = [frame for frame in frames if frame.filename.endswith(".py")]
    assert python[-1].filename == __file__
    assert python[-1].name == "<lambda>"
    assert _runtime.planner_counters()["nodes"] == before


def test_a_refused_operation_leaves_its_operands_as_they_were():
    x = owl.ones([2, 3])
    with pytest.raises(owl.ShapeError):
        x += owl.ones([3, 2])
    assert x.to_numpy().tolist() == [[1, 1]] * 3


def test_a_refused_operation_keeps_no_reference():
    x = object()
    count = sys.getrefcount(x)
    for _ in range(10):
        with pytest.raises(TypeError):
            owl.zeros([2]) + x
    assert sys.getrefcount(x) == count
