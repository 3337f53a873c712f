"""Chains of element-wise operations, matrix products and convolutions on arrays that lie on the GPU already.

Chains are told in bytes read and written a second, beside the card's own copy from one array to another; products and
convolutions in operations a second. PyTorch computes products by cuBLAS and convolutions by cuDNN, with TF32 off;
JAX takes part if it is installed with CUDA, with TF32 off as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.gpu import jax_peers
from benchmarks.harness import Idleness, Worker, circumstances, interleave, serve, table

CONTESTANTS = {
    "owl": "owl",
    "eager": "PyTorch, eager",
    "compile": "PyTorch, compiled",
    "fuse": "CuPy, fused",
    "jit": "JAX, compiled",
}
Call = Callable[[], Any]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--elements", type=int, default=1 << 26, help="of each array of a chain")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096], help="of square matrices")
    parser.add_argument("--images", type=int, default=256, help="that are convolved")
    parser.add_argument("--rounds", type=int, default=11, help="turns for each contestant")
    parser.add_argument("--seconds", type=float, default=0.2, help="a turn's length")
    parser.add_argument("--only", nargs="+", choices=[*CONTESTANTS], help="contestants")
    parser.add_argument("--worker", choices=[*CONTESTANTS], help=argparse.SUPPRESS)


def cases(options: argparse.Namespace) -> dict[str, tuple[float, str]]:
    """Of each case the amount of work, and its unit."""
    found: dict[str, tuple[float, str]] = {
        "copy": (8 * options.elements, "GB/s"),
        "scale and add": (12 * options.elements, "GB/s"),
        "six operations": (12 * options.elements, "GB/s"),
    }
    found.update({f"product {side}": (2 * side**3, "GFLOP/s") for side in options.sides})
    found["convolution 5x5, 16 to 32 channels"] = (2 * 25 * 16 * 32 * 12 * 12 * options.images, "GFLOP/s")
    return found


def run(options: argparse.Namespace) -> None:
    if options.worker:
        serve_calls(OWNERS[options.worker](options))
        return
    given = [f"--elements={options.elements}", f"--images={options.images}", "--sides", *map(str, options.sides)]
    names = jax_peers.with_jax(CONTESTANTS, options.only)
    idleness = Idleness()
    with idleness:
        workers = {name: Worker("benchmarks.gpu", name, *given, before=["arrays"]) for name in names}
        try:
            for case, (amount, unit) in cases(options).items():
                measure(case, amount, unit, workers, options)
        finally:
            for worker in workers.values():
                worker.close()
    print(circumstances(idleness, ("owl-runtime", "torch", "cupy-cuda13x", "jax")))


def measure(case: str, amount: float, unit: str, workers: Mapping[str, Worker], options: argparse.Namespace) -> None:
    samples = {name: worker.call("sample", case=case) for name, worker in workers.items()}
    known = {name: np.array(sample) for name, sample in samples.items() if sample is not None}
    first = next(iter(known))
    for name, found in known.items():
        error = np.abs(found - known[first]).max() / max(1e-30, np.abs(known[first]).max())
        if not error < 1e-4:
            raise SystemExit(f"{case}: {name} and {first} differ by {error:.1e} of the greatest number")

    def turn(name: str) -> Callable[[], float]:
        return lambda: workers[name].call("measure", case=case, seconds=options.seconds)

    turns = {CONTESTANTS[name]: turn(name) for name in known}
    interleave(turns, 1)  # warm-up
    spent = interleave(turns, options.rounds)
    print(f"\n{case}, {amount / sorted(spent[CONTESTANTS[first]])[options.rounds // 2] / 1e9:.1f} {unit} by {first}\n")
    print(table(spent, CONTESTANTS[first]), flush=True)


def serve_calls(make: Callable[[str], tuple[Call, Call, Callable[[Any], np.ndarray]] | None]) -> None:
    """A contestant's process. ``make(case)`` gives a call, what waits for all calls, and what reads a result."""
    made: dict[str, Any] = {}

    def of(case: str) -> Any:
        if case not in made:
            made.clear()  # its arrays go before those of the next case come
            made[case] = make(case)
        return made[case]

    def sample(case: str) -> list[float] | None:
        found = of(case)
        if found is None:
            return None
        numbers = found[2](found[0]()).ravel()
        places = np.random.default_rng(1).integers(0, numbers.size, 1000)
        return [float(number) for number in numbers[places]]

    def measure(case: str, seconds: float) -> float:
        call, wait, _ = of(case)
        count, start = 0, time.perf_counter()
        while True:
            for _ in range(4):
                call()
            wait()
            count += 4
            spent = time.perf_counter() - start
            if spent >= seconds:
                return spent / count

    serve({"sample": sample, "measure": measure})


def numbers(case: str, options: argparse.Namespace) -> list[np.ndarray]:
    """The same arrays for each contestant, in NumPy's order."""
    rng = np.random.default_rng(0)
    if case.startswith("product"):
        side = int(case.split()[1])
        return [rng.standard_normal((side, side), np.float32) for _ in range(2)]
    if case.startswith("convolution"):
        shapes = [(options.images, 16, 12, 12), (32, 16, 5, 5)]
        return [rng.standard_normal(shape, np.float32) for shape in shapes]
    return [rng.standard_normal(options.elements, np.float32) for _ in range(2)]


def owl_calls(options: argparse.Namespace) -> Callable[[str], Any]:
    import owl
    import owl.elewise as ele
    from owl import conv

    owl.set_device(owl.create_gpu_device(0))

    def make(case: str) -> Any:
        x, y = (owl.from_numpy(array) for array in numbers(case, options))
        convolver = conv.Convolver(2, 2, 1, 1)
        calls: dict[str, Call] = {
            "copy": lambda: x * 1,
            "scale and add": lambda: x * 2 + y,
            "six operations": lambda: ele.relu(ele.mult(ele.tanh(x * 2 + y), x) - y * 0.5),
            "product": lambda: y * x,
            "convolution": lambda: convolver.ff(x, y),
        }

        def call() -> Any:
            result = calls.get(case) or calls[case.split()[0]]
            value = result()
            value.eval()
            return value

        return call, owl.wait_for_all, lambda value: value.to_numpy()

    return make


def torch_calls(compiled: bool) -> Callable[[argparse.Namespace], Callable[[str], Any]]:
    def of(options: argparse.Namespace) -> Callable[[str], Any]:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        cuda = torch.cuda.is_available()
        functions: dict[str, Any] = {
            "copy": lambda x, _: x.clone(),
            "scale and add": lambda x, y: x * 2 + y,
            "six operations": lambda x, y: torch.relu(torch.tanh(x * 2 + y) * x - y * 0.5),
            "product": lambda x, y: x @ y,
            # owl's filters are turned round: both convolve.
            "convolution": lambda x, y: torch.nn.functional.conv2d(x, y.flip(2, 3), padding=2),
        }

        def make(case: str) -> Any:
            if compiled and case == "copy":
                return None
            x, y = (torch.from_numpy(array).to("cuda" if cuda else "cpu") for array in numbers(case, options))
            function = functions.get(case) or functions[case.split()[0]]
            if compiled:
                function = torch.compile(function, mode="reduce-overhead")
            wait = torch.cuda.synchronize if cuda else lambda: None
            return lambda: function(x, y), wait, lambda value: value.cpu().numpy()

        return make

    return of


def cupy_calls(options: argparse.Namespace) -> Callable[[str], Any]:
    import cupy

    @cupy.fuse()
    def six(x: Any, y: Any) -> Any:
        return cupy.maximum(cupy.tanh(x * 2 + y) * x - y * cupy.float32(0.5), cupy.float32(0))

    @cupy.fuse()
    def two(x: Any, y: Any) -> Any:
        return x * 2 + y

    functions = {"scale and add": two, "six operations": six}

    def make(case: str) -> Any:
        if case not in functions:
            return None
        x, y = (cupy.asarray(array) for array in numbers(case, options))
        wait = cupy.cuda.get_current_stream().synchronize
        return lambda: functions[case](x, y), wait, lambda value: value.get()

    return make


def jax_calls(options: argparse.Namespace) -> Callable[[str], Any]:
    return jax_peers.calls(options, numbers)


OWNERS = {
    "owl": owl_calls,
    "eager": torch_calls(False),
    "compile": torch_calls(True),
    "fuse": cupy_calls,
    "jit": jax_calls,
}
