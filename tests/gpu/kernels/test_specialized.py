"""Kernels that are made for one program each have the interpreter's bits."""

import numpy as np
import pytest

from owl._cuda import specialized
from tests.agreement import same_numbers
from tests.gpu.kernels.launching import OPERATIONS, SCALAR_OPERAND, Program, names_in_order, random_program
from tests.gpu.kernels.specializing import Collector, Library

SIZES = [1, 3, 4, 5, 777, 1_000_003]


def numbers(size, dtype, seed):
    """Bits of all kinds beside usual numbers: NaNs, denormals, zeros of both signs."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    kind = np.uint32 if dtype.itemsize == 4 else np.uint64
    patterns = rng.integers(0, np.iinfo(kind).max, size, dtype=kind, endpoint=True).view(dtype)
    special = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-42, 5e-324, -1e-310], dtype)
    drawn = np.where(rng.random(size) < 0.5, patterns, (rng.standard_normal(size) * 5).astype(dtype))
    return np.where(rng.random(size) < 0.1, rng.choice(special, size), drawn)


def all_operations(dtype):
    """Every operation of the table, each stored."""
    inputs = [numbers(3001, dtype, seed) for seed in range(3)]
    steps = [(name, 3 + i, tuple(range(arity))) for i, (name, (arity, _)) in enumerate(OPERATIONS.items())]
    outputs = [(3 + i, np.dtype(dtype)) for i in range(len(steps))]
    return Program(np.dtype(dtype), inputs, [], steps, outputs, [])


def small(size, dtype, *, other=None, shift=0):
    """A program whose threads take several elements at once. `shift` moves arrays off multiples of 16 bytes."""
    dtype = np.dtype(dtype)
    x, y = (numbers(size + shift, kind, seed)[shift:] for seed, kind in ((1, dtype), (2, other or dtype)))
    steps = [("mul", 2, (0, SCALAR_OPERAND)), ("add", 3, (2, 1)), ("relu", 2, (3,)), ("where", 3, (0, 2, 1))]
    return Program(dtype, [x, y], [1 / 3], steps, [(3, dtype), (2, np.dtype(other or dtype))], [])


def spread(dtype, shape=(5, 6, 7)):
    """Inputs that are the same along some dimensions."""
    dtype = np.dtype(dtype)
    kinds = [(1, 1, 7), (5, 1, 1), (1, 6, 1), (1, 1, 1), shape]
    inputs = [
        np.broadcast_to(numbers(int(np.prod(kind)), dtype, k).reshape(kind), shape) for k, kind in enumerate(kinds)
    ]
    steps = [("add", 5, (0, 1)), ("mul", 5, (5, 2)), ("sub", 5, (5, 3)), ("maximum", 6, (5, 4))]
    return Program(dtype, inputs, [], steps, [(6, dtype)], [])


def summed(dtype, columns):
    """Sums over so many columns, of rows that are no multiple of anything."""
    shape, dtype = (columns, 131), np.dtype(dtype)
    inputs = [numbers(131 * columns, dtype, 1).reshape(shape)]
    inputs += [np.broadcast_to(np.linspace(-1, 1, 131, dtype=dtype), shape), np.broadcast_to(inputs[0][:, :1], shape)]
    steps = [("mul", 3, (0, 1)), ("add", 3, (3, 2)), ("abs", 4, (3,))]
    return Program(dtype, inputs, [], steps, [(3, dtype)], [3, 4])


PROGRAMS = {
    **{f"all operations {kind}": (all_operations, kind) for kind in ("float32", "float64")},
    **{f"{size} elements {kind}": (small, size, kind) for size in SIZES for kind in ("float32", "float64")},
    "float64 into float32": (lambda: small(1003, np.float32, other=np.float64),),
    "float32 into float64": (lambda: small(1003, np.float64, other=np.float32),),
    "no multiples of 16 bytes": (lambda: small(1003, np.float32, shift=1),),
    **{f"spread {kind}": (spread, kind) for kind in ("float32", "float64")},
    **{f"sums over {n} columns {kind}": (summed, kind, n) for n in (1, 3, 5, 700) for kind in ("float32", "float64")},
    **{f"random {seed}": (random_program, seed) for seed in range(6)},
    **{f"random with sums {seed}": (lambda seed=seed: random_program(seed, sums=True),) for seed in range(4)},
}


def made(name):
    make, *arguments = PROGRAMS[name]
    return make(*arguments)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    collector = Collector()
    for name in PROGRAMS:
        made(name).run(collector, wide=name == "spread float64")
    return Library(collector, tmp_path_factory.mktemp("specialized"))


def both(library, program, **options):
    """By the interpreter, and by the program's own kernel."""
    library.own = False
    wanted = program.run(library, **options)
    library.own = True
    return wanted, program.run(library, **options)


@pytest.mark.parametrize("name", PROGRAMS)
def test_bits_are_the_interpreters(library, name):
    program = made(name)
    with np.errstate(all="ignore"):
        wanted, found = both(library, program, wide=name == "spread float64")
    assert len(wanted[0]) + len(wanted[1]) > 0
    for left, right in zip([*wanted[0], *wanted[1]], [*found[0], *found[1]], strict=True):
        same_numbers(left, right)


def test_nothing_is_touched_where_there_are_no_elements(library):
    program = small(777, np.float32)
    program.inputs = [x[:0] for x in program.inputs]
    assert [y.size for y in program.run(library)[0]] == [0, 0]


def test_an_output_over_an_input(library):
    program = small(1_000_003, np.float32)
    wanted = program.run(library)[0]
    found = program.run(library, over=True)[0]
    assert found[0] is program.inputs[0]
    for left, right in zip(wanted, found, strict=True):
        same_numbers(left, right)


def test_programs_of_one_code_have_one_kernel(library):
    texts = {specialized.text(program) for program in library.programs}
    assert len(texts) == len(library.programs)
    one, two = Collector(), Collector()
    small(5, np.float32).run(one)
    small(777, np.float32).run(two)
    assert one.programs == two.programs


def test_operations_are_numbered_as_the_kernels_do():
    assert [name for name, _ in specialized.OPERATIONS] == names_in_order()
    assert dict(specialized.OPERATIONS) == {name: arity for name, (arity, _) in OPERATIONS.items()}


def test_few_and_simple_statements_take_several_elements_at_once(library):
    widths = {program.kernel: set() for program in library.programs}
    for program in library.programs:
        widths[program.kernel].add(program.width)
    assert widths["specialized_f32"] >= {1, 4}
    assert widths["specialized_f64"] >= {1, 2}
