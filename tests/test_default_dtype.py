"""OWL_DTYPE: what arrays are made of where a program does not say."""

from __future__ import annotations

import pytest

MAKERS = """
import asyncio, sys
import numpy as np
import owl, owl.aio
from owl import conv, elewise

expected = np.dtype(sys.argv[1])
single = np.ones((4, 3), np.float32)
owl.seed(1)
made = {
    "zeros": owl.zeros([2]), "ones": owl.ones([2]), "full": owl.full([2], 3), "randn": owl.randn([2], 0, 1),
    "randb": owl.randb([2], 0.5), "randu": owl.randu([2], 0, 1), "from_numpy": owl.from_numpy(single),
}
x = made["from_numpy"]
made["sum"], made["product"], made["relu"] = x.sum(0), x * x.trans(), elewise.relu(x - 1.0)
made["mixed"], made["concat"] = x + single, owl.concat([x, x], 0)
made["softmax"] = conv.softmax(x.reshape([3, 1, 1, 4]), conv.soft_op.instance)


async def load():
    large = np.ones((1024, 512), np.float32)
    async with owl.aio.Pipeline([large]).to_device() as batches:
        staged = [batch async for batch in batches]
    return await owl.aio.from_numpy(single), await owl.aio.from_numpy(large), staged[0]


made["aio"], made["aio, large"], made["staged"] = asyncio.run(load())
wrong = {name: array.dtype for name, array in made.items() if array.dtype != expected}
assert not wrong, wrong
assert owl.zeros([1], dtype="float32").dtype == np.float32
assert owl.from_numpy(single, dtype=np.float64).dtype == np.float64
owl.wait_for_all()
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_are_made_of_it(python, dtype):
    done = python(MAKERS, dtype, OWL_DTYPE=dtype)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unset", [None, ""])
def test_float32_if_unset(python, unset):
    done = python(MAKERS, "float32", OWL_DTYPE=unset)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", ["float16", "int64", "double-double"])
def test_another_is_refused_at_the_import(python, dtype):
    done = python("import owl", OWL_DTYPE=dtype)
    assert done.returncode == 1
    assert "DTypeError: [OWL_DTYPE]" in done.stderr
    assert dtype in done.stderr
