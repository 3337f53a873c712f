"""The command line: options, what is printed, and how it ends."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import owl
from owl._files.whole import FileRefused, writable_target
from owl.apps.charlm.model import new_parameters
from owl.apps.charlm.text import Corpus, TextError, read
from owl.apps.charlm.train import Sizes, Training, sample
from owl.apps.mnist.cli import device_name, say
from owl.apps.mnist.errors import PlotError
from owl.apps.mnist.options import Parser, at_least, one_line_errors, positive

PROGRAM = "python -m owl.apps.charlm"
DESCRIPTION = "Train an LSTM on the characters of a text, Python's own help texts by default, and let it write."


def build_parser() -> argparse.ArgumentParser:
    """The options, as ``--help`` shows them."""
    parser = Parser(PROGRAM, description=DESCRIPTION)
    parser.add_argument("--device", type=device_name, default="cpu", metavar="cpu|gpu:0", help="default: cpu")
    parser.add_argument("--text", type=Path, metavar="FILE", help="another text, in UTF-8")
    parser.add_argument("--epochs", type=at_least(1), default=5, metavar="N", help="default: 5")
    parser.add_argument("--batch-size", type=at_least(1), default=32, metavar="N", help="places at once (default: 32)")
    parser.add_argument("--length", type=at_least(1), default=32, metavar="N", help="characters a step (default: 32)")
    parser.add_argument("--hidden", type=at_least(1), default=128, metavar="N", help="units (default: 128)")
    parser.add_argument("--lr", type=positive, default=4e-3, metavar="RATE", help="at its highest (default: 0.004)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--sample", type=at_least(0), default=300, metavar="N", help="characters written (default: 300)"
    )
    parser.add_argument("--temperature", type=positive, default=0.7, metavar="T", help="lower is safer (default: 0.7)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's) and return the exit code."""
    options = build_parser().parse_args(argv)
    with one_line_errors(PROGRAM):
        run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    """Train, report, draw and write."""
    if options.plot is not None:
        check_plot(options.plot)
    owl.set_device(options.device.create())
    owl.seed(options.seed)
    corpus = Corpus.of(read(options.text), options.length + 2)
    if (len(corpus.train) // options.batch_size - 1) // options.length < 1:
        raise TextError(f"the text is too short for {options.batch_size} places of {options.length} characters")
    where = "Python's help texts" if options.text is None else str(options.text)
    say(f"text: {where}: {len(corpus.train):,} characters to train on, {len(corpus.alphabet)} different ones")
    params = new_parameters(len(corpus.alphabet), options.hidden)
    training = Training(corpus, Sizes(options.batch_size, options.length), params)
    for line in training.epochs(options.epochs, options.lr):
        say(line)
    if options.plot is not None:
        from owl.apps.charlm.plot import draw

        draw(options.plot, training)
        say(f"drew {options.plot}")
    if options.sample:
        write = lambda character: print(character, end="", flush=True)  # noqa: E731
        start = corpus.alphabet.characters[int(corpus.train[0])]
        sample(training.params, corpus.alphabet, options.sample, options.temperature, options.seed, start, write)
        print()


def check_plot(path: Path) -> None:
    """Better before the training than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotError(f"{path}: pictures need matplotlib: pip install 'owl-runtime[apps]'") from None
    try:
        writable_target(path)
    except FileRefused as refusal:
        raise PlotError(f"{path}: {refusal}") from None
