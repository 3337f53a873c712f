"""Every kernel of every instruction set that this machine has, forced by OWL_ISA, against NumPy in float64."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

import owl
from owl import _runtime

ORDER = ["generic", "avx2", "avx512"]

SWEEP = """
import itertools, sys
import numpy as np
import owl, owl.conv, owl.elewise as ele
from owl.testing import oracles, softmax_oracle

rng = np.random.default_rng(1)


def close(name, found, expected, dtype, scale=1.0):
    expected = np.asarray(expected)
    assert found.dtype == dtype, (name, found.dtype)
    assert found.shape == expected.shape, (name, found.shape, expected.shape)
    tolerance = 64 * np.finfo(dtype).eps * scale
    error = np.abs(found.astype(np.float64) - expected) - tolerance * np.maximum(np.abs(expected), 1)
    assert found.size == 0 or error.max() <= 0, (name, dtype, found.shape, error.max())


for dtype in (np.float32, np.float64):
    array = lambda x: owl.from_numpy(x, dtype=dtype)
    draw = lambda *shape: rng.uniform(0.1, 3, shape[::-1]).astype(dtype)
    # lengths around vectors, unrolled loops and blocks of the interpreter
    for n in [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 500, 1027, 5000]:
        x, y, z = draw(n), draw(n) - dtype(1.5), draw(n) - dtype(1.5)
        a, b = x.astype(np.float64), y.astype(np.float64)
        for name in ele.__all__:
            if name in ("where", "clip"):
                found = getattr(ele, name)(array(y), array(z), array(x))
                close(name, found.to_numpy(), oracles[name](b, z.astype(np.float64), a), dtype)
                continue
            arity = 2 if name in ("leaky_relu", "maximum", "minimum", "mult", "pow", "relu_back") else 1
            operands = [array(x), array(y)][:arity]
            close(name, getattr(ele, name)(*operands).to_numpy(), oracles[name](*[a, b][:arity]), dtype, 10)
        for name in ("__add__", "__sub__", "__truediv__", "__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
            close(name, getattr(array(y), name)(array(x)).to_numpy(), getattr(b, name)(a), dtype, 10)
        close("neg", (-array(x)).to_numpy(), -a, dtype)
        chain = ele.relu(array(x) * 2 + array(y)) / array(x) - 1
        close("chain", chain.to_numpy(), np.maximum(a * 2 + b, 0) / a - 1, dtype, 10)
        other = np.float64 if dtype == np.float32 else np.float32
        assert (array(x).astype(other).to_numpy() == x.astype(other)).all()
    large_and_empty = [(128, 130, 300), (10, 256, 256), (0, 3, 4), (3, 4, 0)]
    for m, n, k in [*itertools.product([1, 5, 16, 33], [1, 7, 32, 50], [1, 6, 65]), *large_and_empty]:
        p, q, c = draw(m, k), draw(k, n), draw(m, n)
        expected = q.astype(np.float64) @ p.astype(np.float64)
        close("matmul", (array(p) * array(q)).to_numpy(), expected, dtype)
        close("left", (array(np.ascontiguousarray(p.T)).trans() * array(q)).to_numpy(), expected, dtype)
        close("right", (array(p) * array(np.ascontiguousarray(q.T)).trans()).to_numpy(), expected, dtype)
        close("update", (array(c) - 0.5 * (array(p) * array(q))).to_numpy(), c - 0.5 * expected, dtype, 4)
    for shape in [[1, 1], [7, 3], [33, 65], [100, 20], [3, 500], [4, 5, 6], [17, 1, 19], [2, 3, 4, 5]]:
        x = draw(*shape)
        a = x.astype(np.float64)
        for axes in [list(c) for r in range(1, len(shape) + 1) for c in itertools.combinations(range(len(shape)), r)]:
            along = tuple(len(shape) - 1 - axis for axis in axes)
            close("sum", array(x).sum(axes).to_numpy(), a.sum(along, keepdims=True), dtype)
            close("mean", array(x).mean(axes).to_numpy(), a.mean(along, keepdims=True), dtype)
            close("max", array(x).max(axes).to_numpy(), a.max(along, keepdims=True), dtype, 0)
            close("min", array(x).min(axes).to_numpy(), a.min(along, keepdims=True), dtype, 0)
        for axis in range(len(shape)):
            found = array(np.round(x)).argmax(axis).to_numpy()
            close("argmax", found, np.round(x).argmax(len(shape) - 1 - axis, keepdims=True), dtype, 0)
        for mode in (0, 1):
            close("softmax", owl.conv.softmax(array(x), mode).to_numpy(), softmax_oracle(a, mode), dtype)
        close("trans", array(x).trans().to_numpy(), np.ascontiguousarray(a.T), dtype, 0)
        close("slice", array(x)[::-1].to_numpy(), a[..., ::-1], dtype, 0)
        close("concat", owl.concat([array(x), array(x)], 0).to_numpy(), np.concatenate([a, a], -1), dtype, 0)
        close("row", (array(x) + array(x[..., :1].copy())).to_numpy(), a + a[..., :1], dtype)
        close("column", (array(x) - array(x[:1].copy())).to_numpy(), a - a[:1], dtype)
    owl.seed(5)
    uniform, normal = owl.randu([5003], dtype=dtype), owl.randn([5003], dtype=dtype)
    bits = owl.randb([5003], 0.3, dtype)
    for x in (uniform, bits):
        sys.stdout.write(x.to_numpy().tobytes().hex() + " ")
    assert abs(normal.to_numpy().mean()) < 0.08 and abs(normal.to_numpy().std() - 1) < 0.05
assert owl._runtime.isa() == sys.argv[1]
"""


def available() -> list[str]:
    """Those that the machine has: the best one is chosen by default, and it has the simpler ones."""
    program = "from owl import _runtime; print(_runtime.isa())"
    environment = {name: value for name, value in os.environ.items() if name != "OWL_ISA"}
    best = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    return ORDER[: ORDER.index(best.stdout.strip()) + 1]


@pytest.mark.slow
def test_every_kernel_of_every_instruction_set(python):
    drawn = {}
    for isa in available():
        done = python(SWEEP, isa, OWL_ISA=isa)
        assert done.returncode == 0, f"{isa}: {done.stderr[-2000:]}"
        drawn[isa] = done.stdout
    # Uniform bits are the same everywhere.
    assert len(set(drawn.values())) == 1


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="instruction sets of x86-64")
def test_x86_64_has_more_than_one():
    assert available()[0] == "generic"
    assert _runtime.isa() in ORDER


def test_an_unknown_instruction_set_is_an_error_that_names_it(python):
    done = python("import owl\nowl.zeros([1]).to_numpy()", OWL_ISA="mmx")
    assert done.returncode == 1
    assert "DeviceError" in done.stderr
    assert "OWL_ISA=mmx" in done.stderr


def test_show_config_names_the_instruction_set(capsys):
    owl.show_config()
    assert _runtime.isa() in capsys.readouterr().out
