"""Element-wise programs for the CUDA kernels, and what owl's CPU kernels make of the same operations."""

from __future__ import annotations

import ctypes
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

import owl
import owl.elewise as ele
from tests.gpu.kernels.library import ROOT, Kernels

MAX_DIMS, INPUTS, OUTPUTS, SUMS, SCALARS, INSTRUCTIONS = 8, 24, 40, 8, 64, 128
SCALAR_OPERAND = 128
SUM_GROUP = 240

# By the names of operations.def: what a row is in owl's API.
OPERATIONS: dict[str, tuple[int, Any]] = {
    "copy": (1, lambda x: x),
    "neg": (1, lambda x: -x),
    "add": (2, lambda x, y: x + y),
    "sub": (2, lambda x, y: x - y),
    "mul": (2, ele.mult),
    "div": (2, lambda x, y: x / y),
    "lt": (2, lambda x, y: x < y),
    "le": (2, lambda x, y: x <= y),
    "gt": (2, lambda x, y: x > y),
    "ge": (2, lambda x, y: x >= y),
    "eq": (2, lambda x, y: x == y),
    "ne": (2, lambda x, y: x != y),
    "exp": (1, ele.exp),
    "ln": (1, ele.ln),
    "sigm": (1, ele.sigm),
    "relu": (1, ele.relu),
    "tanh": (1, ele.tanh),
    "sqrt": (1, ele.sqrt),
    "abs": (1, ele.abs),
    "rsqrt": (1, ele.rsqrt),
    "erf": (1, ele.erf),
    "gelu": (1, ele.gelu),
    "softplus": (1, ele.softplus),
    "floor": (1, ele.floor),
    "isfinite": (1, ele.isfinite),
    "pow": (2, ele.pow),
    "maximum": (2, ele.maximum),
    "minimum": (2, ele.minimum),
    "leaky_relu": (2, ele.leaky_relu),
    "where": (3, ele.where),
    "clip": (3, ele.clip),
    "relu_back": (2, ele.relu_back),
    "sigm_back": (1, ele.sigm_back),
    "tanh_back": (1, ele.tanh_back),
    "sigm_diff": (2, ele.sigm_back),
    "tanh_diff": (2, ele.tanh_back),
}


def names_in_order() -> list[str]:
    """The operations as the kernels number them."""
    text = (ROOT / "owl/_engine/graph/operations.def").read_text()
    rows = [line for line in text.splitlines() if line.startswith("OWL_ELEMENTWISE(")]
    return [row.partition("(")[2].partition(",")[0] for row in rows]


class Instruction(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint8) for name in ("op", "dst", "a", "b", "c")]


class Launch(ctypes.Structure):
    """ElementwiseLaunch of args.h."""

    _fields_ = [
        ("size", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("shape", ctypes.c_int64 * MAX_DIMS),
        ("stride", (ctypes.c_int64 * MAX_DIMS) * INPUTS),
        ("input", ctypes.c_void_p * INPUTS),
        ("output", ctypes.c_void_p * OUTPUTS),
        ("part", ctypes.c_void_p * SUMS),
        ("sum", ctypes.c_void_p * SUMS),
        ("scalar", ctypes.c_double * SCALARS),
        ("instruction", Instruction * INSTRUCTIONS),
        ("input_type", ctypes.c_uint8 * INPUTS),
        ("output_type", ctypes.c_uint8 * OUTPUTS),
        ("output_register", ctypes.c_uint8 * OUTPUTS),
        ("sum_register", ctypes.c_uint8 * SUMS),
        ("ndim", ctypes.c_uint8),
        ("n_inputs", ctypes.c_uint8),
        ("n_outputs", ctypes.c_uint8),
        ("n_sums", ctypes.c_uint8),
        ("n_instructions", ctypes.c_uint8),
    ]


@dataclass
class Program:
    """Operations on registers, of which the first hold the inputs; operands from SCALAR_OPERAND on are scalars."""

    dtype: np.dtype
    inputs: list[np.ndarray]  # shapes reversed against owl's, any strides
    scalars: list[float]
    steps: list[tuple[str, int, tuple[int, ...]]]  # operation, register, operands
    outputs: list[tuple[int, np.dtype]]  # register, type
    sums: list[int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    @property
    def registers(self) -> int:
        return 1 + max([len(self.inputs) - 1, *(dst for _, dst, _ in self.steps)])

    def expected(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Outputs and sums by owl on a CPU, operation by operation."""
        held = [owl.from_numpy(np.ascontiguousarray(x), dtype=x.dtype).astype(self.dtype) for x in self.inputs]
        registers: dict[int, Any] = dict(enumerate(held))
        constants = [owl.from_numpy(np.full(self.shape, value, self.dtype), dtype=self.dtype) for value in self.scalars]
        for name, dst, operands in self.steps:
            values = [constants[x - SCALAR_OPERAND] if x >= SCALAR_OPERAND else registers[x] for x in operands]
            registers[dst] = OPERATIONS[name][1](*values)
        outputs = [registers[register].astype(dtype).to_numpy() for register, dtype in self.outputs]
        return outputs, [registers[register].sum(1).to_numpy().reshape(-1) for register in self.sums]

    def describe(self, launch: Any, outputs: list[np.ndarray]) -> None:
        """Fills the part of a launch that all launches with a program have."""
        names = names_in_order()
        launch.n_inputs, launch.n_outputs, launch.n_instructions = len(self.inputs), len(outputs), len(self.steps)
        for k, x in enumerate(self.inputs):
            launch.stride[k][: x.ndim] = [stride // x.itemsize for stride in x.strides[::-1]]
            launch.input[k] = x.ctypes.data
            launch.input_type[k] = x.dtype == np.float64
        for k, (y, (register, dtype)) in enumerate(zip(outputs, self.outputs)):
            launch.output[k] = y.ctypes.data
            launch.output_type[k] = dtype == np.float64
            launch.output_register[k] = register
        launch.scalar[: len(self.scalars)] = self.scalars
        for i, (name, dst, operands) in enumerate(self.steps):
            launch.instruction[i] = Instruction(names.index(name), dst, *operands, *[0] * (3 - len(operands)))

    def run(
        self, kernels: Kernels, *, wide: bool = False, seed: int = 1, over: bool = False
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Outputs and sums by the CUDA kernels. `over`: the first output is written over the first input."""
        kind = "f32" if self.dtype == np.float32 else "f64"
        count = 16 if self.registers <= 16 else 64
        threads = kernels.threads(f"elementwise_groups_{kind}")  # all of a type have as many
        shape = self.shape[::-1]
        columns = shape[1] if len(shape) > 1 else 1
        launch = Launch(
            size=int(np.prod(shape)), rows=shape[0], columns=columns, ndim=len(shape), n_sums=len(self.sums)
        )
        launch.shape[: len(shape)] = shape
        outputs = [np.full(self.shape, 7, dtype) for _, dtype in self.outputs]
        if over:
            outputs[0] = self.inputs[0]
        self.describe(launch, outputs)
        groups = max(1, -(-columns // SUM_GROUP))
        sums = [np.full(shape[0], 7, self.dtype) for _ in self.sums]
        parts = sums if groups == 1 else [np.full((groups, shape[0]), 7, self.dtype) for _ in self.sums]
        for s, register in enumerate(self.sums):
            launch.sum[s], launch.part[s] = sums[s].ctypes.data, parts[s].ctypes.data
            launch.sum_register[s] = register
        if not self.sums:
            launches = [
                (f"elementwise_{kind}_{'i64' if wide else 'i32'}_{count}", max(1, launch.size // (4 * threads)))
            ]
        else:
            stretches = -(-shape[0] // threads)
            launches = [(f"elementwise_rows_{kind}_{count}", stretches * groups)]
            launches += [(f"elementwise_groups_{kind}", stretches)] * (groups > 1)
        for name, blocks in launches:
            kernels.run(name, launch, blocks, seed)
        return outputs, sums


def random_program(seed: int, *, sums: bool = False, registers: int = 12, first: np.ndarray | None = None) -> Program:
    """A program over inputs with strides, of both types, with constants and specials among them.

    `first`, where given, is the first input, and has the program's type and shape.
    """
    coin, rng = random.Random(seed), np.random.default_rng(seed)
    shape: tuple[int, ...]
    dtypes = [np.dtype(np.float32), np.dtype(np.float64)]
    dtype = coin.choice(dtypes)
    if first is not None:
        dtype, shape = first.dtype, first.shape
    elif sums:
        shape = (coin.choice([1, 3, 250, 700]), coin.choice([2, 5, 130]))  # a single row is summed by itself
    else:
        shape = coin.choice([(1,), (777,), (9, 31), (5, 4, 3), (2, 3, 1, 5, 2)])

    def numbers(wanted: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(wanted) * coin.choice([0.5, 1, 20])
        special = np.array([0.0, -0.0, 1, -1, 2, np.inf, -np.inf, np.nan, 1e-42, 1e30])
        return np.where(rng.random(wanted) < 0.05, rng.choice(special, wanted), x).astype(coin.choice(dtypes))

    def array() -> np.ndarray:
        way = coin.choice(["dense", "transposed", "repeated", "spaced"])
        if way == "transposed":
            return numbers(shape[::-1]).transpose()
        if way == "repeated":
            return np.broadcast_to(numbers(tuple(n if coin.random() < 0.5 else 1 for n in shape)), shape)
        if way == "spaced":
            return numbers((*shape[:-1], 2 * shape[-1]))[..., ::2]
        return numbers(shape)

    inputs = [array() for _ in range(coin.randint(1, 4))]
    if first is not None:
        inputs[0] = first
    scalars = [coin.choice([0.5, -1.0, 2.0, 1 / 3]) for _ in range(3)]
    steps, known = [], list(range(len(inputs)))
    for _ in range(coin.randint(1, 20)):
        name = coin.choice([*OPERATIONS])
        choices = known + [SCALAR_OPERAND + k for k in range(len(scalars))]
        operands = tuple(coin.choice(choices) for _ in range(OPERATIONS[name][0]))
        dst = coin.randrange(registers)
        steps.append((name, dst, operands))
        if dst not in known:
            known.append(dst)
    outputs = [(coin.choice(known), coin.choice(dtypes)) for _ in range(coin.randint(0 if sums else 1, 3))]
    return Program(dtype, inputs, scalars, steps, outputs, [coin.choice(known) for _ in range(2 if sums else 0)])
