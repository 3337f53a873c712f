"""Texts of kernels that are made for one program each: what the interpreter reads at each run is written out in them.

A text has the program's instructions as statements and its registers as variables; types, dimensions and the ways in
which inputs lie in memory are constants. Addresses, sizes, strides and scalars stay arguments of the launch, so that
programs of the same code share a kernel. All else is `kernels/specialized.cuh`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

OPERATIONS_TABLE = Path(__file__).resolve().parents[1] / "_engine" / "graph" / "operations.def"
SCALAR_OPERAND = 128  # kScalarOperand of words.h
NUMBERS = ("float", "double")  # by DType
PACK_BYTES = 16
# A thread takes several elements at once where they fit its registers, and the statements the instruction cache.
MOST_ARRAYS_PACKED = 8
MOST_WORK_PACKED = 40  # in simple operations
WORK = {"exp": 8, "ln": 8, "sigm": 10, "tanh": 12, "pow": 32, "div": 4, "sqrt": 4}
WORK |= {"rsqrt": 8, "erf": 24, "gelu": 24, "softplus": 24, "floor": 4}

#: The element-wise operations as the kernels number them: the name, and how many operands it has.
OPERATIONS: tuple[tuple[str, int], ...] = tuple(
    (name, int(arity))
    for name, arity in re.findall(
        r"^OWL_ELEMENTWISE\((\w+), (\d),",
        OPERATIONS_TABLE.read_text(),
        re.MULTILINE,
    )
)


@dataclass(frozen=True)
class Input:
    """How an input lies: `dense` as the space itself, or with a stride in the dimensions `moving`, a bit for each."""

    dtype: int
    dense: bool
    moving: int


@dataclass(frozen=True)
class Instruction:
    """An operation by its number, the register of its result, and its operands."""

    operation: int
    target: int
    operands: tuple[int, int, int]


@dataclass(frozen=True)
class Program:
    """All of a program that its kernel has as constants."""

    dtype: int
    wide: bool  # positions have 64 bits
    dimensions: int
    scalars: int
    inputs: tuple[Input, ...]
    outputs: tuple[tuple[int, int], ...]  # dtype and register
    sums: tuple[int, ...]  # registers
    instructions: tuple[Instruction, ...]

    @classmethod
    def unpack(cls, code: bytes) -> Program:
        """From the bytes in which the engine writes it (`ProgramCode` in specialization.cpp)."""
        head, at = struct.unpack_from("8B", code), 8

        def take(count: int, width: int) -> list[tuple[int, ...]]:
            nonlocal at
            found = [tuple(code[at + k * width : at + (k + 1) * width]) for k in range(count)]
            at += count * width
            return found

        dtype, wide, dimensions, scalars, inputs, outputs, sums, instructions = head
        program = cls(
            dtype,
            bool(wide),
            dimensions,
            scalars,
            tuple(Input(kind, bool(dense), moving) for kind, dense, moving in take(inputs, 3)),
            tuple((kind, register) for kind, register in take(outputs, 2)),
            tuple(register for (register,) in take(sums, 1)),
            tuple(Instruction(op, target, (a, b, c)) for op, target, a, b, c in take(instructions, 5)),
        )
        if at != len(code):
            raise ValueError(f"a program's code has {len(code)} bytes, not {at}")
        return program

    @property
    def kernel(self) -> str:
        """The kernel's name."""
        return f"specialized{'_rows' if self.sums else ''}_{'f64' if self.dtype else 'f32'}"

    @property
    def width(self) -> int:
        """The elements that a thread takes at once."""
        work = sum(WORK.get(OPERATIONS[step.operation][0], 1) for step in self.instructions)
        few = len(self.inputs) + len(self.outputs) + len(self.sums) <= MOST_ARRAYS_PACKED and work <= MOST_WORK_PACKED
        return PACK_BYTES // (8 if self.dtype else 4) if few else 1


def text(program: Program) -> str:
    """The kernel of a program."""
    number = NUMBERS[program.dtype]
    rows = bool(program.sums)
    arrays = {
        "Inputs": len(program.inputs),
        "Outputs": len(program.outputs),
        "Sums": len(program.sums),
        "Scalars": program.scalars,
    }
    place, many = ("const int64_t (&place)[n][2]", "&y") if rows else ("Index at", "(&y)[n]")
    lines = [
        '#include "_cuda/kernels/specialized.cuh"',
        "",
        "namespace owl {",
        "namespace cuda {",
        "",
        "struct Code {",
        f"    using Number = {number};",
        f"    using Index = {'int64_t' if program.wide else 'int32_t'};",
        *(f"    using {name} = Number[{max(1, count)}];" for name, count in arrays.items()),
        f"    static constexpr int kSums = {len(program.sums)}, kDims = {program.dimensions};",
        f"    static constexpr int kWidth = {program.width};",
        "",
        *_function("bool is_aligned(const ElementwiseLaunch& a)", _aligned(program)),
        *_function("void convert(const ElementwiseLaunch& a, Scalars& s)", _scalars(program)),
        *_function("void read_fixed(const ElementwiseLaunch& a, int64_t row, Inputs& fixed)", _fixed(program)),
        "    template <int n>",
        *_function(
            f"void read(const ElementwiseLaunch& a, {place}, const Inputs& fixed, Inputs (&x)[n])", _loads(program)
        ),
        *_function("void compute(const Scalars& s, const Inputs& x, Outputs& y, Sums& z)", _statements(program)),
        *([] if rows else ["    template <int n>"]),
        *_function(f"void write(const ElementwiseLaunch& a, int64_t at, const Outputs {many})", _stores(program)),
        "};",
        "",
        "}  // namespace cuda",
        "}  // namespace owl",
        "",
        f"OWL_KERNEL({program.kernel}, owl::cuda::ElementwiseLaunch) "
        f"{{ owl::cuda::run_specialized_{'rows' if rows else 'elements'}<owl::cuda::Code>(a); }}",
        "",
    ]
    return "\n".join(lines)


def _function(head: str, statements: list[str]) -> list[str]:
    return [f"    OWL_DEVICE static {head} {{", *(f"        {line}" for line in statements), "    }"]


def _is_fixed(program: Program, given: Input) -> bool:
    """Whether a thread meets one element of it alone: with sums a thread has a row."""
    return not given.dense and not given.moving >> (1 if program.sums else 0)


def _aligned(program: Program) -> list[str]:
    arrays = [f"a.input[{k}]" for k, given in enumerate(program.inputs) if given.dense]
    arrays += [f"a.output[{k}]" for k in range(len(program.outputs))]
    return [f"return {' && '.join(f'owl::cuda::is_aligned({array})' for array in arrays) or 'true'};"]


def _scalars(program: Program) -> list[str]:
    return [f"s[{k}] = static_cast<Number>(a.scalar[{k}]);" for k in range(program.scalars)]


def _fixed(program: Program) -> list[str]:
    return [
        f"fixed[{k}] = load<Number>(a.input[{k}], {_dtype(given.dtype)}, "
        f"{f'row * a.stride[{k}][0]' if given.moving else '0'});"
        for k, given in enumerate(program.inputs)
        if _is_fixed(program, given)
    ]


def _loads(program: Program) -> list[str]:
    lines, placed = [], bool(program.sums)
    for k, given in enumerate(program.inputs):
        stored = NUMBERS[given.dtype]
        if _is_fixed(program, given):
            lines += [f"for (int e = 0; e < n; ++e) x[e][{k}] = fixed[{k}];"]
        elif given.dense and not program.sums:
            lines += [f"load_dense<{k}, {stored}>(a, at, x);"]
        else:
            if not placed:
                lines += ["Index place[n][kDims];", "OWL_UNROLL"]
                lines += ["for (int e = 0; e < n; ++e) find_place(a, static_cast<Index>(at + e), place[e]);"]
                placed = True
            lines += [f"load_strided<{k}, {stored}, {given.moving}>(a, place, x);"]
    return lines


def _statements(program: Program) -> list[str]:
    """A variable for each result: registers are used again, variables are not."""
    held = {k: f"x[{k}]" for k in range(len(program.inputs))}
    lines = []

    def operand(number: int) -> str:
        return f"s[{number - SCALAR_OPERAND}]" if number >= SCALAR_OPERAND else held[number]

    for i, step in enumerate(program.instructions):
        name, arity = OPERATIONS[step.operation]
        operands = ", ".join(operand(number) for number in step.operands[:arity])
        lines += [f"const Number v{i} = apply_{name}<Number>({operands});"]
        held[step.target] = f"v{i}"
    lines += [f"y[{k}] = {held[register]};" for k, (_, register) in enumerate(program.outputs)]
    return lines + [f"z[{k}] = {held[register]};" for k, register in enumerate(program.sums)]


def _stores(program: Program) -> list[str]:
    if program.sums:
        return [
            f"store<Number>(a.output[{k}], {_dtype(dtype)}, at, y[{k}]);"
            for k, (dtype, _) in enumerate(program.outputs)
        ]
    return [f"store_dense<{k}, {NUMBERS[dtype]}>(a, at, y);" for k, (dtype, _) in enumerate(program.outputs)]


def _dtype(number: int) -> str:
    return f"DType::{'f64' if number else 'f32'}"
