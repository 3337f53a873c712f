"""Filters of one number. With padding they are computed by another algorithm; inside it, not a bit may differ."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from agreement import DTYPES, same_bits
from hypothesis import given
from test_isa import available

import owl
import owl.conv as conv
import owl.elewise as ele


def check(dtype: type, groups: int, channels: tuple[int, int], size: tuple[int, int], batch: int, relu: bool) -> None:
    rng = np.random.default_rng(batch)
    inputs, outputs = (groups * n for n in channels)
    x = rng.standard_normal((batch, inputs, *size)).astype(dtype)
    w = rng.standard_normal((outputs, channels[0], 1, 1)).astype(dtype)
    b = rng.standard_normal(outputs).astype(dtype)
    g = rng.standard_normal((batch, outputs, size[0] + 2, size[1] + 2)).astype(dtype)
    inside = np.s_[:, :, 1:-1, 1:-1]
    data, filters, bias, gradient, inner = (owl.from_numpy(a, dtype) for a in (x, w, b, g, g[inside]))
    plain, padded = conv.Convolver(0, 0, 1, 1, groups=groups), conv.Convolver(1, 1, 1, 1, groups=groups)
    act = ele.relu if relu else lambda y: y
    same_bits(act(plain.ff(data, filters, bias)).to_numpy(), act(padded.ff(data, filters, bias)).to_numpy()[inside])
    same_bits(plain.ff(data, filters).to_numpy(), padded.ff(data, filters).to_numpy()[inside])
    same_bits(plain.bp(inner, data, filters).to_numpy(), padded.bp(gradient, data, filters).to_numpy())
    expected = np.einsum(
        "bgohw,bgchw->goc",
        g[inside].reshape(batch, groups, channels[1], *size).astype(float),
        x.reshape(batch, groups, channels[0], *size).astype(float),
    ).reshape(w.shape)
    found = plain.weight_grad(inner, data, filters).to_numpy()
    assert np.abs(found - expected).max() <= 64 * np.finfo(dtype).eps * np.sqrt(batch * size[0] * size[1])


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    st.integers(1, 3),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 20), st.integers(1, 20))),
    st.integers(1, 40),
    st.booleans(),
)
def test_it_is_what_a_padded_convolution_has_inside(dtype, groups, channels, size, batch, relu):
    check(dtype, groups, channels, size, batch, relu)


@pytest.mark.parametrize("isa", available())
def test_on_every_instruction_set(isa, python, request):
    folder = request.path.parent
    done = python(
        f"import sys; sys.path[:0] = {[str(folder), str(folder.parent)]!r}\n"
        "import numpy as np, owl, test_pointwise\n"
        "for dtype in (np.float32, np.float64):\n"
        "    test_pointwise.check(dtype, 1, (35, 29), (7, 7), 5, True)\n"
        "    test_pointwise.check(dtype, 3, (8, 20), (5, 13), 2, True)\n"
        "    test_pointwise.check(dtype, 1, (9, 50), (1, 1), 33, False)\n"
        "print(owl._runtime.isa())",
        OWL_ISA=isa,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == isa
