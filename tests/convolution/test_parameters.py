"""Parameters of convolutions, poolings and normalizations: checked when they are used, copied and pickled."""

import copy
import pickle

import numpy as np
import pytest

import owl
from owl import conv

WRONG = (-1, -(2**63), 2**24, 2**61, 2**63 - 1)
CONVOLVER = {
    "stride_vertical": 1,
    "stride_horizontal": 1,
    "dilation_vertical": 1,
    "dilation_horizontal": 1,
    "groups": 1,
    "pad_height": 0,
    "pad_width": 0,
}
POOLER = {"height": 1, "width": 1, "stride_vertical": 1, "stride_horizontal": 1, "pad_height": 0, "pad_width": 0}


def arrays():
    x, w = owl.ones([8, 8, 2, 1]), owl.ones([3, 3, 2, 2])
    return x, w, conv.Convolver().ff(x, w)


@pytest.mark.parametrize("name", CONVOLVER)
def test_a_convolvers_parameter_is_checked_from_both_sides_when_it_is_used(name):
    x, w, y = arrays()
    for value in (*WRONG, CONVOLVER[name] - 1):
        convolver = conv.Convolver()
        setattr(convolver.param, name, value)
        for use, *operands in (
            (convolver.ff, x, w),
            (convolver.bp, y, x, w),
            (convolver.bp, y, w),
            (convolver.weight_grad, y, x, w),
            (convolver.weight_grad, y, x),
            (owl.NArray.conv_forward, x, w, None, convolver.param),
            (owl.NArray.conv_backward_data, y, x, w, convolver.param),
            (owl.NArray.conv_backward_filter, y, x, w, convolver.param),
        ):
            with pytest.raises(ValueError) as raised:
                use(*operands)
            assert isinstance(raised.value, owl.OwlError)


@pytest.mark.parametrize("name", [*POOLER, "algorithm"])
def test_a_poolers_parameter_is_checked_from_both_sides_when_it_is_used(name):
    x, _, _ = arrays()
    pooled = conv.Pooler(2, 2).ff(x)
    for value in (*WRONG, POOLER.get(name, 1) - 1):
        pooler = conv.Pooler(2, 2)
        setattr(pooler.param, name, value)
        for use, *operands in (
            (pooler.ff, x),
            (pooler.bp, pooled, pooled, x),
            (owl.NArray.pooling_forward, x, pooler.param),
            (owl.NArray.pooling_backward, pooled, pooled, x, pooler.param),
        ):
            with pytest.raises(ValueError) as raised:
                use(*operands)
            assert isinstance(raised.value, owl.OwlError)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_parameters_can_be_copied_and_pickled(again):
    x, w, _ = arrays()
    convolver = conv.Convolver(1, 2, 2, 1, dilation_v=2, groups=1)
    pooler = conv.Pooler(3, 2, 2, 1, 1, 0, conv.pool_op.avg)
    lrner = conv.Lrner(3, 0.5, 0.75)
    assert np.array_equal(again(convolver).ff(x, w).to_numpy(), convolver.ff(x, w).to_numpy())
    assert np.array_equal(again(pooler).ff(x).to_numpy(), pooler.ff(x).to_numpy())
    assert np.array_equal(again(lrner).ff(x).to_numpy(), lrner.ff(x).to_numpy())
    info = again(convolver.param)
    assert (info.pad_width, info.stride_vertical, info.dilation_vertical) == (2, 2, 2)
    info.pad_width = 0
    assert convolver.param.pad_width == 2
    assert again(pooler.param).algorithm == conv.pool_op.avg.value


def test_scale_keeps_its_dtype():
    x, scale = owl.ones([2, 2, 4, 1], dtype="float64"), owl.zeros([2, 2, 4, 1])
    lrner = conv.Lrner(3, 0.5, 0.75)
    y = lrner.ff(x, scale)
    assert (y.dtype, scale.dtype) == (np.float64, np.float32)
    assert np.allclose(scale.to_numpy()[0, :, 0, 0], [1 + 0.5 / 3 * n for n in (2, 3, 3, 2)])
