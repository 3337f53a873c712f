"""What docs/migration.md says of Minerva's scripts is so."""

import importlib.util

import numpy as np
import pytest

import owl
import owl.conv as conv
import owl.elewise as ele


@pytest.mark.parametrize("name", ["zeros", "ones", "randn", "randb", "concat", "slice"])
def test_functions_of_the_binding_are_functions_of_the_module(name):
    assert not hasattr(owl.NArray, name)
    assert callable(getattr(owl, name))


@pytest.mark.parametrize("name", ["mult", "exp", "ln", "sigm", "tanh", "relu"])
def test_elementwise_functions_of_the_binding_are_those_of_elewise(name):
    assert not hasattr(owl.NArray, name)
    assert callable(getattr(ele, name))


def test_static_functions_of_convolution_are_the_same():
    for name in ("conv", "pooling", "softmax", "lrn"):
        assert callable(getattr(owl.NArray, f"{name}_forward"))
    assert not hasattr(owl.NArray, "activation_forward")


@pytest.mark.parametrize("function", [ele.sigm_back, ele.tanh_back])
def test_slopes_take_one_or_two_arguments(function):
    x = owl.from_numpy(np.array([[0.25, 0.5]], np.float32))
    np.testing.assert_array_equal(function(x, x).to_numpy(), (ele.mult(x, function(x))).to_numpy())
    with pytest.raises(TypeError):
        function(x, x, x)


def test_the_gradient_of_the_data_wants_the_data_where_there_is_a_stride():
    x, w = owl.ones([9, 9, 2, 1]), owl.ones([3, 3, 2, 4])
    for stride in (1, 2):
        convolver = conv.Convolver(0, 0, stride, stride)
        y = convolver.ff(x, w, owl.zeros([4]))
        assert convolver.bp(y, x, w).shape == x.shape
        if stride == 1:
            assert convolver.bp(y, w).shape == x.shape
        else:
            with pytest.raises(owl.OwlError, match="stride"):
                convolver.bp(y, w)


def test_a_shape_of_floats_is_refused():
    with pytest.raises(owl.OwlError):
        owl.zeros([784 / 2, 3])


def test_there_is_no_owl_net():
    assert importlib.util.find_spec("owl.net") is None
