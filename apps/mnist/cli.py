"""The command line: options, what is printed, and how it ends."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import owl
from owl.apps.mnist import INTERRUPTED, checkpoint, data, plot
from owl.apps.mnist.dataset import Dataset
from owl.apps.mnist.download import MIRRORS_VARIABLE
from owl.apps.mnist.errors import CheckpointError, DataError, PlotError
from owl.apps.mnist.loading import Batches, PipelineLoader, PlainLoader
from owl.apps.mnist.model import MODELS, Model
from owl.apps.mnist.options import BROKEN_PIPE, WRONG_INPUT, Parser, at_least, leave_quietly, positive
from owl.apps.mnist.train import Evaluation, train

PROGRAM = "python -m owl.apps.mnist"

DESCRIPTION = "Train a network on MNIST and print its test accuracy after each epoch."
EPILOG = f"""data: --data or {data.DATA_VARIABLE} name {data.MAT_NAME} or a folder that holds it or the four idx files,
gzipped or not; without either, the cache ($XDG_CACHE_HOME/owl/mnist) is used or filled by a download,
and where there is no network scikit-learn's digits stand in. {MIRRORS_VARIABLE} names other mirrors,
separated by blanks.

GPUs: what they need stands in docs/devices.md; with OWL_GPU_FALLBACK=cpu a CPU device stands in for one that cannot be
used.

several devices: --devices cpu:0,cpu:1 divides each batch among them; the result is that of one device.

Ctrl-C ends the training with the accuracy so far (exit code {INTERRUPTED}); --save and --plot are done then, too.
A wrong option, data set or checkpoint: exit code {WRONG_INPUT}."""


@dataclass(frozen=True)
class DeviceName:
    """``cpu``, ``cpu:<index>`` or ``gpu:<index>`` as the user wrote it."""

    kind: str
    index: int = 0

    def create(self) -> owl.Device:
        """Create the device; raises owl.DeviceError where there is none."""
        return owl.create_cpu_device() if self.kind == "cpu" else owl.create_gpu_device(self.index)


def device_name(text: str) -> DeviceName:
    """``cpu`` or ``gpu``, perhaps with ``:<index>``."""
    match = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu or gpu:0")
    return DeviceName(match[1], int(match[2] or 0))


def device_names(text: str) -> list[DeviceName]:
    """Several of these, separated by commas."""
    names = [device_name(part) for part in text.split(",")]
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a device twice")
    return names


def build_parser() -> argparse.ArgumentParser:
    """The options, as ``--help`` shows them."""
    parser = Parser(
        PROGRAM, description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rates = ", ".join(f"{model.rate:g} for {name}" for name, model in MODELS.items())
    parser.add_argument("model", nargs="?", default="mlp", choices=MODELS, help="the network (default: mlp)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", type=device_name, default="cpu", metavar="cpu|gpu:0", help="default: cpu; see below")
    where.add_argument("--devices", type=device_names, metavar="NAME,NAME", help="divide each batch among several")
    parser.add_argument("--epochs", type=at_least(0), default=10, metavar="N", help="default: 10; 0 tests only")
    parser.add_argument("--batch-size", type=at_least(1), default=256, metavar="N", help="default: 256")
    parser.add_argument("--lr", type=positive, metavar="RATE", help=f"on mean gradients (default: {rates})")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of weights and order (default: 0)")
    parser.add_argument("--data", metavar="PATH", help="where the data lies, see below")
    parser.add_argument("--augment", action="store_true", help="shift and turn each image a little, anew each epoch")
    parser.add_argument("--no-prefetch", action="store_true", help="make batches in the training loop, not ahead of it")
    parser.add_argument("--threads", type=at_least(1), metavar="N", help="CPU threads (default: the cores allowed)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the parameters (safetensors) at the end")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw loss, accuracy, filters, misread digits")
    parser.add_argument("--load", type=Path, metavar="FILE", help="begin with the parameters of such a file")
    return parser


def say(line: str) -> None:
    """Print a line that is seen at once, also through a pipe."""
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's) and return the exit code."""
    options = build_parser().parse_args(argv)
    try:
        return run(options)
    except (DataError, CheckpointError, PlotError, owl.DeviceError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return WRONG_INPUT
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        leave_quietly()
        return BROKEN_PIPE


def run(options: argparse.Namespace) -> int:
    """Prepare, train, report and save."""
    if options.save is not None:
        checkpoint.check_target(options.save)
    if options.plot is not None:
        plot.check_target(options.plot)
    if options.threads is not None:
        set_threads(options.threads)
    devices = [name.create() for name in options.devices or [options.device]]
    owl.set_device(devices[0])
    owl.seed(options.seed)
    model = MODELS[options.model]()
    if options.load is not None:
        load_parameters(model, options.load)
    dataset = data.load(options.data, say)
    say(f"data: {dataset.source}: {len(dataset.train)} training images, {len(dataset.test)} test images")
    evaluation = Evaluation(dataset.test)
    history = None if options.plot is None else plot.History()

    code = 0
    start = time.perf_counter()
    try:
        report_training(model, dataset, evaluation, devices, history, options)
    except KeyboardInterrupt:
        say(f"interrupted, test accuracy so far {evaluation.accuracy(model):.2%}")
        code = INTERRUPTED
    say(f"total time {time.perf_counter() - start:.2f} s")
    if options.save is not None:
        checkpoint.save(options.save, model.name, {key: p.to_numpy() for key, p in model.parameters().items()})
        say(f"saved {options.save}")
    if history is not None:
        plot.draw(options.plot, model, history, dataset.test)
        say(f"drew {options.plot}")
    return code


def set_threads(count: int) -> None:
    """Ends the program where owl refuses the number, which it bounds."""
    try:
        owl.set_num_threads(count)
    except owl.OwlValueError as error:
        build_parser().error(f"argument --threads: {error}")


def report_training(
    model: Model,
    dataset: Dataset,
    evaluation: Evaluation,
    devices: Sequence[owl.Device],
    history: plot.History | None,
    options: argparse.Namespace,
) -> None:
    """Train with a line for each epoch and one for the whole."""
    rate = model.rate if options.lr is None else options.lr
    images, seconds = 0, 0.0
    if options.epochs == 0:
        say(f"test accuracy {evaluation.accuracy(model):.2%}")
        return
    kind = PlainLoader if options.no_prefetch else PipelineLoader
    for epoch in train(
        model,
        kind(dataset.train, options.batch_size, options.seed, options.augment),
        evaluation,
        devices=devices,
        epochs=options.epochs,
        images=len(dataset.train),
        rate=rate,
        progress=progress,
        watch=None if history is None else history.watch,
    ):
        if history is not None:
            history.end_epoch(epoch.accuracy)
        images += epoch.images
        seconds += epoch.seconds
        number = f"{epoch.number:{len(str(options.epochs))}}/{options.epochs}"
        say(f"epoch {number}: test accuracy {epoch.accuracy:.2%}, {epoch.images_per_second:,.0f} images/s")
    say(f"test accuracy {epoch.accuracy:.2%}, {images / seconds:,.0f} images/s")


def load_parameters(model: Model, path: Path) -> None:
    """Give ``model`` the parameters of a checkpoint; owl's shapes are NumPy's reversed."""
    shapes = {name: shape[::-1] for name, shape in model.shapes.items()}
    arrays = checkpoint.load(path, model.name, shapes)
    model.restore({name: owl.from_numpy(array) for name, array in arrays.items()})


def progress(batches: Batches, total: int) -> Batches:
    """A bar on a terminal, nothing elsewhere; the bar shows what is recorded, a little ahead of the device."""
    if not sys.stderr.isatty():
        return batches
    try:
        from tqdm import tqdm
    except ImportError:
        return batches
    return tqdm(batches, total=total, unit="batch", leave=False)
