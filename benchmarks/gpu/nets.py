"""A training step of the perceptron and of the convolution net, the copies of the batch included.

owl runs a classic script's code. PyTorch runs a step tuned by hand: launched operation by operation, as a CUDA graph,
and compiled. JAX, if it is installed with CUDA, compiles a step whole. Before anything is timed, all train on the same
batches, and what they have added to the weights must agree.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import step, step_cnn
from benchmarks.contest import compete, serve_step
from benchmarks.gpu import jax_peers
from benchmarks.harness import threads

NETS: dict[str, Any] = {"perceptron": step, "convolution": step_cnn}
CONTESTANTS = {
    "owl": "owl",
    "graph": "PyTorch, CUDA graph",
    "eager": "PyTorch, eager",
    "compile": "PyTorch, compiled",
    "jit": "JAX, compiled",
}
TF32_TOLERANCE = 3e-2  # ten bits of a fraction


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--net", choices=[*NETS], default="perceptron")
    parser.add_argument("--batch", type=int, default=256, help="images in a batch")
    parser.add_argument("--batches", type=int, default=32, help="that are trained on, again and again")
    parser.add_argument("--steps", type=int, default=200, help="steps in a turn, timed as one")
    parser.add_argument("--rounds", type=int, default=15, help="turns for each contestant")
    parser.add_argument("--tf32", action="store_true", help="products may round their factors to TF32, on all sides")
    parser.add_argument("--only", nargs="+", choices=[*CONTESTANTS], help="contestants: owl, and peers to compare with")
    parser.add_argument("--worker", choices=[*CONTESTANTS], help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=threads(), help="of the host, for each contestant")


def run(options: argparse.Namespace) -> None:
    net = NETS[options.net]
    rate = net.RATE * net.BATCH / options.batch
    if options.worker:
        parameters, batches = net.initial_parameters(), net.batches(options.batch, options.batches)
        serve_step(contestant(options, parameters, rate), parameters, batches)
        return
    names = jax_peers.with_jax(CONTESTANTS, options.only)
    reference = next(name for name in names if name != "owl")
    shared = [f"--net={options.net}", f"--batch={options.batch}", f"--batches={options.batches}"]
    compete(
        "benchmarks.gpu",
        {name: CONTESTANTS[name] for name in names},
        reference,
        checked_steps=min(net.CHECKED_STEPS, options.steps),
        tolerance=TF32_TOLERANCE if options.tf32 else net.TOLERANCE,
        steps=options.steps,
        rounds=options.rounds,
        threads=options.threads,
        arguments=["nets", *shared, *(["--tf32"] if options.tf32 else [])],
    )


def contestant(options: argparse.Namespace, parameters: dict[str, Any], rate: float) -> Any:
    if options.worker == "owl":
        import owl

        owl.set_matmul_precision("high" if options.tf32 else "highest")
        kind = step.OwlStep if options.net == "perceptron" else step_cnn.OwlNet
        return kind(parameters, rate, options.threads, "gpu")
    if options.worker == "jit":
        return jax_peers.Step(options.net, parameters, rate, options.tf32)
    from benchmarks.gpu import peers

    return peers.Step(options.net, parameters, rate, options.worker, options.tf32)
