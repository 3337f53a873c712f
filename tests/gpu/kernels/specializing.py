"""Kernels of single programs beside the interpreter, in one library."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from pathlib import Path

from owl._cuda import specialized
from tests.gpu.kernels.launching import Launch
from tests.gpu.kernels.library import FLAGS, catalogue

ENTRIES = """
extern "C" bool run_{number}(const owl::cuda::ElementwiseLaunch* a, int64_t blocks, int threads, uint64_t seed) try {{
    owl::simt::launch("{kernel}", {kernel}, *a, blocks, threads, seed);
    return true;
}} catch (const owl::simt::Race&) {{
    return false;
}}
"""


def program_of(launch: Launch, double: bool, wide: bool) -> specialized.Program:
    """What of a launch is constant in its kernel."""
    rows = bool(launch.n_sums)
    shape = list(launch.shape[: launch.ndim])
    inputs = []
    for k in range(launch.n_inputs):
        stride = list(launch.stride[k][: launch.ndim])
        dense = [1]
        for n in shape[:-1]:
            dense.append(dense[-1] * n)
        is_dense = not rows and all(n == 1 or s == d for n, s, d in zip(shape, stride, dense))
        moving = sum((s != 0) << d for d, s in enumerate(stride))
        inputs.append(specialized.Input(launch.input_type[k], is_dense, 0 if is_dense else moving))
    used = launch.instruction[: launch.n_instructions]
    operands = [number for step in used for number in (step.a, step.b, step.c)]
    return specialized.Program(
        dtype=int(double),
        wide=wide or rows,
        dimensions=2 if rows else launch.ndim,
        scalars=max([number - specialized.SCALAR_OPERAND + 1 for number in operands if number >= 128], default=0),
        inputs=tuple(inputs),
        outputs=tuple(zip(launch.output_type[: launch.n_outputs], launch.output_register[: launch.n_outputs])),
        sums=tuple(launch.sum_register[: launch.n_sums]),
        instructions=tuple(specialized.Instruction(step.op, step.dst, (step.a, step.b, step.c)) for step in used),
    )


def threads(name: str) -> int:
    return 64 if "f64" in name else 128


class Collector:
    """Takes the place of kernels, and keeps the programs that they would run."""

    def __init__(self) -> None:
        self.programs: dict[specialized.Program, int] = {}

    threads = staticmethod(threads)

    def run(self, name: str, launch: Launch, blocks: int, seed: int = 1) -> None:
        if not name.startswith("elementwise_groups"):
            self.programs.setdefault(program_of(launch, "f64" in name, "i64" in name), len(self.programs))


class Library:
    """The kernels of collected programs. `own` chooses between these and the interpreter."""

    threads = staticmethod(threads)

    def __init__(self, collector: Collector, folder: Path) -> None:
        self.programs = collector.programs
        self.own = True
        names = [name for name in catalogue() if name.startswith("elementwise_")]
        parts = ['#include "_cuda/kernels/elementwise.cu"\n#include "_cuda/kernels/specialized.cuh"\n']
        parts += [ENTRIES.format(number=name, kernel=name) for name in names]
        for program, number in self.programs.items():
            body = specialized.text(program).replace(program.kernel, f"{program.kernel}_{number}")
            body = body.replace("struct Code", f"struct Code{number}").replace("cuda::Code>", f"cuda::Code{number}>")
            parts += [body, ENTRIES.format(number=number, kernel=f"{program.kernel}_{number}")]
        source, target = folder / "specialized.cpp", folder / "specialized.so"
        source.write_text("".join(parts))
        flags = [flag for flag in FLAGS if flag not in ("-O2", "-Wall", "-Wextra")]
        command = [*shlex.split(os.environ.get("CXX", "g++")), *flags, "-O1", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.library = ctypes.CDLL(str(target))

    def run(self, name: str, launch: Launch, blocks: int, seed: int = 1) -> None:
        entry = name
        if self.own and not name.startswith("elementwise_groups"):
            entry = str(self.programs[program_of(launch, "f64" in name, "i64" in name)])
        function = getattr(self.library, f"run_{entry}")
        function.restype = ctypes.c_bool
        assert function(ctypes.byref(launch), ctypes.c_int64(blocks), threads(name), ctypes.c_uint64(seed))
