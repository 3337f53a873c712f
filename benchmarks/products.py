"""Matrix products, each waited for: what a request costs that goes through one layer, alone or in a small batch.

``w * x`` is a matrix times a batch of columns, ``w.trans() * x`` reads the matrix the other way round, as gradients do.
PyTorch computes the same products of its row-major arrays, in which a batch is rows.
"""

from __future__ import annotations

import numpy as np

from benchmarks.calls import Calls, Read, main, waiting
from benchmarks.harness import threads

SHAPES = [(256, 784, n) for n in (1, 4, 16, 64, 256)] + [(1024, 1024, n) for n in (1, 8, 32, 128, 1024)]
SHAPES += [(4000, 4000, n) for n in (1, 8)]
CASES = {f"{m}x{k}, {n} column{'s' if n > 1 else ''}": (m, k, n) for m, k, n in SHAPES}
CALLS = ("w * x", "w.trans() * x")


def arrays(case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrix row by row of inputs, and a batch for each way of reading it."""
    m, k, n = CASES[case]
    rng = np.random.default_rng(0)
    w, x, y = (rng.standard_normal(shape, np.float32) for shape in ((k, m), (n, k), (n, m)))
    return w, x, y


def owl_calls(case: str) -> tuple[Calls, Read]:
    import owl

    owl.set_num_threads(threads())
    owl.set_device(owl.create_cpu_device())
    w, x, y = (owl.from_numpy(array) for array in arrays(case))
    calls = {"w * x": waiting(lambda: w * x), "w.trans() * x": waiting(lambda: w.trans() * y)}
    return calls, lambda result: result.to_numpy()


def torch_calls(case: str) -> tuple[Calls, Read]:
    import torch

    torch.set_num_threads(threads())
    w, x, y = (torch.from_numpy(array) for array in arrays(case))
    return {"w * x": lambda: x @ w, "w.trans() * x": lambda: y @ w.t()}, lambda result: result.numpy()


if __name__ == "__main__":
    operations = {case: 2 * m * k * n for case, (m, k, n) in CASES.items()}
    main("benchmarks.products", __doc__, {"owl": owl_calls, "PyTorch": torch_calls}, operations, CALLS, "µs")
