"""How far each algorithm of convolution is from float64, by size of the filters and direction.

Errors are given in machine epsilons of float32 (1.2e-7), relative to the greatest sum of absolute products that makes
up any number of the result: the largest one found, and the root of the mean square. Speed is not measured.

    python -m benchmarks.accuracy
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

EPSILON = np.finfo(np.float32).eps
DIRECTIONS = ("forward", "data", "filters")


@dataclass(frozen=True)
class Case:
    """One algorithm with one size of filters; ``winograd`` is the value of ``OWL_WINOGRAD``."""

    algorithm: str
    size: int
    channels: int
    groups: int = 1
    winograd: str = "1"


CASES = [
    Case("matrix product", 1, 32, winograd="0"),
    *(Case("by definition", size, 32, winograd="0") for size in (3, 5, 7, 11)),
    *(Case("Winograd", size, 32) for size in (3, 5)),
    *(Case("grouped", size, 32, groups=32) for size in (3, 5)),
]
IMAGES, SIDE = 4, 24


def oracle(x: np.ndarray, f: np.ndarray, g: np.ndarray, groups: int) -> list[np.ndarray]:
    """Result, gradient of the data and gradient of the filters, without padding, in the dtype of the arrays."""
    size = f.shape[2]
    flipped = f[:, :, ::-1, ::-1]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    padded = np.pad(g, ((0, 0), (0, 0), (size - 1, size - 1), (size - 1, size - 1)))
    back = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))
    ins, outs = x.shape[1] // groups, f.shape[0] // groups
    result, data, filters = [], [], []
    for k in range(groups):
        i, o = slice(k * ins, (k + 1) * ins), slice(k * outs, (k + 1) * outs)
        result.append(np.einsum("nchwij,ocij->nohw", windows[:, i], flipped[o], optimize=True))
        data.append(np.einsum("nohwij,ocij->nchw", back[:, o], f[o], optimize=True))
        filters.append(np.einsum("nchwij,nohw->ocij", windows[:, i], g[:, o], optimize=True)[:, :, ::-1, ::-1])
    return [np.concatenate(result, 1), np.concatenate(data, 1), np.concatenate(filters, 0)]


def errors(case: Case) -> list[tuple[float, float]]:
    """Largest and root mean square error of each direction, in epsilons."""
    import owl
    from owl import conv

    rng = np.random.default_rng(1)
    x = rng.standard_normal((IMAGES, case.channels, SIDE, SIDE)).astype(np.float32)
    f = rng.standard_normal((case.channels, case.channels // case.groups, case.size, case.size)).astype(np.float32)
    rest = SIDE - case.size + 1
    g = rng.standard_normal((IMAGES, case.channels, rest, rest)).astype(np.float32)
    convolver = conv.Convolver(0, 0, 1, 1)
    convolver.param.groups = case.groups
    data, filters, gradient = map(owl.from_numpy, (x, f, g))
    found = [
        convolver.ff(data, filters, owl.zeros([case.channels])),
        convolver.bp(gradient, data, filters),
        convolver.weight_grad(gradient, data, filters),
    ]
    wide = [array.astype(np.float64) for array in (x, f, g)]
    exact = oracle(wide[0], wide[1], wide[2], case.groups)
    scales = oracle(np.abs(wide[0]), np.abs(wide[1]), np.abs(wide[2]), case.groups)
    out = []
    for array, wanted, scale in zip(found, exact, scales):
        error = (array.to_numpy() - wanted) / (scale.max() * EPSILON)
        out.append((float(np.abs(error).max()), float(np.sqrt(np.mean(error**2)))))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        case = CASES[options.case]
        cells = " | ".join(f"{most:.2f} / {mean:.3f}" for most, mean in errors(case))
        print(f"| {case.size}x{case.size} | {case.algorithm} | {cells} |")
        return
    print("| filters | algorithm | " + " | ".join(DIRECTIONS) + " |")
    print("|---|---|" + "---|" * len(DIRECTIONS))
    for at in sorted(range(len(CASES)), key=lambda at: CASES[at].size):
        command = [sys.executable, "-m", "benchmarks.accuracy", "--case", str(at)]
        subprocess.run(command, env={**os.environ, "OWL_WINOGRAD": CASES[at].winograd}, check=True)


if __name__ == "__main__":
    main()
