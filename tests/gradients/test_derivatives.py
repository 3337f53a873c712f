"""Every derivative, and every second one, against differences in float64."""

import numpy as np
import pytest

import owl
from owl import conv, elewise

CONVOLVERS = {
    "plain": (conv.Convolver(), [5, 4, 2, 3], [3, 2, 2, 4]),
    "padded": (conv.Convolver(1, 2), [4, 5, 2, 2], [3, 3, 2, 3]),
    "strided": (conv.Convolver(1, 1, 2, 3), [7, 6, 2, 2], [3, 3, 2, 3]),
    "dilated": (conv.Convolver(2, 2, 1, 1, dilation_v=2, dilation_h=2), [6, 6, 1, 2], [3, 3, 1, 2]),
    "grouped": (conv.Convolver(1, 1, groups=2), [4, 4, 4, 2], [3, 3, 2, 6]),
}
POOLERS = {
    "max": conv.Pooler(2, 2, 2, 2),
    "max_overlapping": conv.Pooler(3, 3, 2, 2),
    "mean": conv.Pooler(2, 3, 2, 3, op=conv.pool_op.avg),
    "mean_padded": conv.Pooler(3, 3, 2, 2, 1, 1, op=conv.pool_op.avg),
}


def labels(z):
    """Probabilities that depend on nothing."""
    rng = np.random.default_rng(5)
    y = rng.random(list(reversed(z.shape)))
    return owl.from_numpy(y / y.sum(1, keepdims=True), np.float64)


def positions(numbers):
    return owl.from_numpy(np.array(numbers), np.float64)


# A function of arrays, and their shapes.
SMOOTH = {
    "add_sub": (lambda x, y: x - 2 * (y + x), [3, 4], [3, 4]),
    "repeated": (lambda x, y: elewise.mult(x, y) + y / x, [3, 1], [1, 4]),
    "repeated_number": (lambda x, y: elewise.mult(x, y), [1, 1], [2, 3]),
    "div": (lambda x, y: x / y + 1 / x + y / 3, [2, 3], [2, 3]),
    "pow": (lambda x, y: x**y + x**3 + 2**y, [5], [5]),
    "same_twice": (lambda x: elewise.mult(x, x), [3, 2]),
    "matmul": (lambda x, y: x * y, [3, 4], [4, 2]),
    "matmul_summed": (lambda x, y: (x * y).sum() + (x * 3).sum(), [3, 4], [4, 2]),
    "matmul_of_itself": (lambda x: x * x.trans(), [3, 4]),
    "at": (lambda x, y: x @ y.T, [3, 4], [2, 4]),
    "trans": (lambda x: elewise.exp(x.trans([2, 0, 1])), [2, 3, 4]),
    "reshape": (lambda x: elewise.exp(x.reshape([6, 2])), [3, 4]),
    "reshape_summed": (lambda x: x.sum(1).reshape([3]), [3, 4]),
    "astype": (lambda x: elewise.exp(x.astype("float64")), [3]),
    "sum": (lambda x: elewise.exp(x.sum(1)), [3, 4]),
    "sum_some": (lambda x: elewise.exp(x.sum([0, 2])), [2, 3, 2]),
    "mean": (lambda x: elewise.exp(x.mean()), [3, 4]),
    "mean_small": (lambda x: elewise.mult(x, x.mean(0)), [3, 4]),
    "max": (lambda x: x.max(1), [3, 4]),
    "min": (lambda x: x.min([0, 1]), [3, 4, 2]),
    "slice": (lambda x: elewise.exp(x[1:3]), [4, 3]),
    "cumsum": (lambda x: elewise.exp(x.cumsum(1) - 2), [2, 4, 2]),
    "cumsum_long": (lambda x: elewise.mult(x.cumsum(0), x) / 300, [300, 2]),
    "take": (lambda x: elewise.exp(owl.take(x, positions([0, 3, 1, 0, 0]), 1)), [2, 4, 3]),
    "take_of_matrix": (lambda x: elewise.exp(owl.take(x, positions([[0, 2], [1, 1]]), 0)), [3, 2]),
    "take_of_itself": (lambda x: elewise.mult(owl.take(x, elewise.floor(x), 0), x), [3]),
    "logsumexp": (lambda x: x.logsumexp(1), [3, 4]),
    "logsumexp_all": (lambda x: elewise.mult(x.logsumexp(), x), [3, 4]),
    "var": (lambda x: elewise.exp(x.var(0)), [5, 3]),
    "std": (lambda x: elewise.mult(x.std([0, 1]), x), [5, 3]),
    "argmin": (lambda x: elewise.mult(x.argmin(0), x), [5, 3]),
    "stack": (lambda x, y: elewise.exp(owl.stack([x, y, x], 1)), [3, 2], [3, 2]),
    "squeeze": (lambda x: elewise.exp(x.squeeze(1)), [3, 1, 2]),
    "pad": (lambda x: elewise.exp(owl.pad(x, [(1, 0), (2, 1)], 0.5)), [3, 2]),
    "one_hot": (lambda x: elewise.mult(owl.one_hot(elewise.floor(x), 3), x.reshape([1, 4])), [4]),
    "slice_steps": (lambda x: elewise.exp(x[::2, 1::3]), [5, 7]),
    "slice_backward": (lambda x: elewise.exp(x[::-2, 3:0:-1]), [5, 4]),
    "index": (lambda x: elewise.exp(x[2]), [4, 3]),
    "index_last": (lambda x: elewise.exp(x[:, -1, 1:]), [2, 3, 4]),
    "index_of_one": (lambda x: elewise.exp(x[:, 0]) + x[0, 0].reshape([1]), [1, 3]),
    "index_one_of_one": (lambda x: elewise.exp(x[0]), [1, 5]),
    "rows": (lambda x: sum(elewise.exp(row).sum() for row in x), [3, 2]),
    "owl_slice": (lambda x: owl.slice(x, 1, 1, 2), [3, 4]),
    "concat": (lambda x, y: elewise.exp(owl.concat([x, y, x], 1)), [2, 3], [2, 1]),
    "concat_many": (lambda x, y: elewise.exp(owl.concat([x, y, x, y, x, x, y, x, x, y], 0)), [2], [3]),
    "softmax": (lambda x: conv.softmax(x), [4, 3]),
    "softmax_channel": (lambda x: conv.softmax(x, conv.soft_op.channel), [2, 2, 3, 2]),
    "softmax_instance": (lambda x: conv.softmax(x), [2, 2, 3]),
    "log_softmax": (lambda x: conv.log_softmax(x), [4, 3]),
    "cross_entropy": (lambda z: conv.cross_entropy(z, labels(z)), [4, 3]),
    "cross_entropy_of_label": (lambda z, y: conv.cross_entropy(z, y / y.sum(0)), [4, 3], [4, 3]),
    "cross_entropy_back": (lambda z: conv.cross_entropy_back(z, labels(z)), [4, 3]),
    "in_place": (lambda x, y: _in_place(x, y), [3], [3]),
    "softplus_by_hand": (lambda x: elewise.ln(1 + elewise.exp(x)), [4]),
    "sigm_back": (lambda x: elewise.sigm_back(x, elewise.sigm(x)), [4]),
    "tanh_back": (lambda x: elewise.tanh_back(elewise.tanh(x)), [4]),
    "relu_back": (lambda x, y: elewise.relu_back(x, y), [4], [4]),
    "where": (lambda x, y: elewise.where(x > y, elewise.exp(x), y / x), [4, 2], [4, 2]),
    "leaky_relu": (lambda x, y: elewise.leaky_relu(x - 1.2, y) + elewise.leaky_relu(1.2 - x, 0.25), [6], [6]),
    "leaky_relu_of_a_number": (lambda y: elewise.leaky_relu(-2.0, y), [6]),
    "steps": (lambda x: elewise.mult(elewise.floor(x * 1.7), x) + elewise.mult(elewise.isfinite(x), x), [6]),
    "clip": (lambda x, y: elewise.clip(x, 1.2, y), [6], [6]),
    "bias_grad": (lambda y: conv.Convolver().bias_grad(y), [3, 2, 4, 2]),
}
for _name in ("exp", "ln", "sigm", "relu", "tanh", "sqrt", "abs", "rsqrt", "erf", "gelu", "softplus"):
    SMOOTH[_name] = (getattr(elewise, _name), [4, 3])
for _name, (_convolver, _x, _w) in CONVOLVERS.items():
    SMOOTH[f"conv_{_name}"] = (_convolver.ff, _x, _w)
    SMOOTH[f"conv_bias_{_name}"] = (_convolver.ff, _x, _w, [_w[3]])
for _name, _pooler in POOLERS.items():
    SMOOTH[f"pool_{_name}"] = (_pooler.ff, [6, 6, 2, 2])
    SMOOTH[f"pool_exp_{_name}"] = (lambda x, pooler=_pooler: elewise.exp(pooler.ff(x)), [7, 5, 2, 2])
SMOOTH["lrn"] = (conv.Lrner(3, 0.5, 0.75).ff, [2, 2, 5, 2])

NO_SECOND = {"pool_exp_max_overlapping": "pool_backward has no derivative where windows", "lrn": "lrn_"}


def _in_place(x, y):
    x *= 2.0
    x += y
    y -= elewise.mult(x, x)
    return y


def draw(shapes, seed=0):
    """Arrays of numbers between 0.5 and 2.5, no two alike, so that no maximum changes its place within a difference."""
    rng = np.random.default_rng(seed)
    out = []
    for k, shape in enumerate(shapes):
        size = int(np.prod(shape))
        numbers = 0.5 + 2 * (rng.permutation(size) + 0.3 + 0.1 * k) / size
        out.append(numbers.reshape(list(reversed(shape))))
    return out


def compute(function, arrays):
    return function(*(owl.from_numpy(x, np.float64) for x in arrays)).to_numpy()


def check_gradient(function, arrays, tolerance=1e-6):
    """Along a random direction, of a random combination of the results."""
    rng = np.random.default_rng(1)
    given = [owl.from_numpy(x, np.float64) for x in arrays]
    result, pull_back = owl.vjp(function, *given)
    cotangent = rng.normal(size=list(reversed(result.shape)))
    gradients = [g.to_numpy() for g in pull_back(owl.from_numpy(cotangent, np.float64))]
    assert [g.shape for g in gradients] == [x.shape for x in arrays]
    step = 1e-5
    for k, x in enumerate(arrays):
        direction = rng.normal(size=x.shape)
        up, down = list(arrays), list(arrays)
        up[k], down[k] = x + step * direction, x - step * direction
        expected = (cotangent * (compute(function, up) - compute(function, down))).sum() / (2 * step)
        found = (gradients[k] * direction).sum()
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), f"argument {k}"


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient(name):
    function, *shapes = SMOOTH[name]
    check_gradient(function, draw(shapes))


@pytest.mark.parametrize("name", SMOOTH)
def test_second_gradient(name):
    function, *shapes = SMOOTH[name]
    rng = np.random.default_rng(2)
    arrays = draw(shapes)
    weight = rng.normal(size=compute(function, arrays).shape)

    def first(*args):
        total = lambda *args: elewise.mult(function(*args), owl.from_numpy(weight, np.float64)).sum()  # noqa: E731
        gradients = owl.grad(total, tuple(range(len(args))))(*args)
        return owl.concat([elewise.mult(g, g).reshape([-1]) for g in gradients], 0)

    if name in NO_SECOND:
        with pytest.raises(owl.OwlTypeError, match=NO_SECOND[name]):
            check_gradient(first, arrays)
    else:
        check_gradient(first, arrays, 1e-5)
