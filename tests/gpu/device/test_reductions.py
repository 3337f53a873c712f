"""Reductions and softmax, through a device: what the lowering makes of them has the bits of a CPU device."""

import pytest

from owl import _runtime

PROGRAM = """
import random
from tests.agreement import same_numbers

devices = owl.create_cpu_device(), gpu
coin, rng = random.Random(seed), np.random.default_rng(seed)


def check(operation, *arrays):
    results = []
    for device in devices:
        owl.set_device(device)
        results.append(operation(*[owl.from_numpy(x, dtype=x.dtype) for x in arrays]).to_numpy())
    same_numbers(*results)


def dimensions():
    while True:
        shape = [coin.choice([0, 1, 2, 3, 5, 17, 66, 250, 3000]) for _ in range(coin.randint(1, 8))]
        if np.prod(shape) <= 100_000 and np.prod([size for size in shape if size]) < 1 << 30:
            return shape


shapes = [dimensions() for _ in range(40)] + [[70_000], [3, 5, 900], [3, 900], [900, 3], [66, 2, 500], [40_000, 250]]
for shape in shapes:
    x = rng.standard_normal(shape[::-1]).astype(coin.choice([np.float32, np.float64]))
    axes = [d for d in range(len(shape)) if coin.random() < 0.5] or [0]
    check(lambda a: a.sum(axes), x)
    check(lambda a: (2.0 * a + a).sum(axes) + 1, x)
    if 0 not in shape:
        for name in ("mean", "max", "min"):
            check(lambda a: getattr(a, name)(axes), x)
        check(lambda a: a.argmax(axes[0]), x)
        check(lambda a: a.argmin(axes[0]), x)
    check(lambda a: a.cumsum(axes[0]), x)
    if shape[axes[0]]:
        indices = rng.integers(-1, shape[axes[0]] + 1, coin.choice([0, 1, 30, 400])).astype(np.float32)
        if x.size // shape[axes[0]] * indices.size < 400_000:
            take = lambda a, b: owl.take(a, b, axes[0])
            check(take, x, indices)
            check(lambda a, b: owl.vjp(lambda c: take(c, b), a)[1](take(a, abs(b)))[0], x, indices)
    if len(shape) > 1:
        for mode in owl.conv.soft_op:
            check(lambda a: owl.conv.softmax(a, mode), x)
            check(lambda a: owl.conv.log_softmax(a, mode), x)
    if shape[0]:
        z = x.reshape(x.size // shape[0], shape[0])
        check(owl.conv.cross_entropy, z, z[::-1].copy())
        check(owl.conv.cross_entropy_back, z, z[::-1].copy())
"""


@pytest.mark.skipif(_runtime.isa() == "generic", reason="it rounds twice where the others fuse")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_device_has_the_bits_of_a_cpu(program, seed):
    program(f"seed = {seed}", PROGRAM, arguments="checked=True, lazy=True")
