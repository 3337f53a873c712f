"""How well loading hides behind training, and how fast it is against PyTorch's DataLoader and SPDL.

Every figure is the median over rounds in which the contestants took turns. DataLoader stands with its best number of
workers; SPDL takes part where it is installed.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.harness import Idleness, Worker, circumstances, interleave, serve, table, threads
from benchmarks.loaders import LOADERS, augment, contestants, images, no_op
from benchmarks.step import BATCH, RATE, OwlStep, initial_parameters
from owl.aio.pipeline.buffers import BufferPool
from owl.apps.mnist.dataset import Split
from owl.apps.mnist.loading import EpochBatches

SAMPLES = {"no-op, single items": 5_000, "no-op": 60_000, "augment": 30_000}
STEPS = 150
EPOCH = 30  # steps on augmented images
ONE_HOT = np.eye(10, dtype=np.float32)


# ---------------------------------------------------------------------------------------------------------- throughput


def load(name: str) -> None:
    """A loader's process."""
    library, workers = name.rsplit("/", 1)
    epochs = {work: LOADERS[library](images(n), work, int(workers)) for work, n in SAMPLES.items()}

    def epoch(work: str) -> float:
        """Seconds a sample takes."""
        start = time.perf_counter()
        seen = sum(1 if work == "no-op, single items" else len(labels) for _, labels in epochs[work]())
        assert seen == SAMPLES[work]
        return (time.perf_counter() - start) / seen

    serve({"epoch": epoch})


def throughput(rounds: int) -> None:
    with ExitStack() as stack:
        names = [f"{library}/{workers}" for library, workers in contestants()]
        workers = {name: stack.enter_context(Worker("benchmarks.pipeline", name)) for name in names}
        for work in SAMPLES:
            measures: dict[str, Callable[[], float]] = {
                name: functools.partial(worker.call, "epoch", work=work) for name, worker in workers.items()
            }
            interleave(measures, 1)
            seconds = interleave(measures, max(3, rounds // 2))
            loaders = [name for name in names if name.startswith("DataLoader")]
            medians = {name: statistics.median(seconds[name]) for name in loaders}
            best = min(medians, key=medians.__getitem__)
            print(f"\n### A sample, {work} (LIBRARY/workers)\n")
            print(table(seconds, best, "µs"), flush=True)


# ------------------------------------------------------------------------------------------------------------- overlap


class Waiting(EpochBatches):
    """The batches of the MNIST programs, each of which is waited for before it is made."""

    def __init__(
        self, split: Split, size: int, seed: int, augment: bool, memory: BufferPool, wait: Callable[[], Any]
    ) -> None:
        super().__init__(split, size, seed, augment, memory)
        self._wait = wait

    def __getitem__(self, number: int) -> Any:
        self._wait()
        return super().__getitem__(number)


class Training:
    """Steps of the perceptron of ``benchmarks.step``; each kind of epoch trains it from the same data."""

    def __init__(self, cores: int) -> None:
        self._step = OwlStep(initial_parameters(), RATE, cores)
        self._samples = images(STEPS * BATCH)
        self._batches = [self._stack(self._samples[at : at + BATCH]) for at in range(0, STEPS * BATCH, BATCH)]
        self._nap = 0.0
        self._overshoot = 0.0
        self._napped: list[float] = []

    @staticmethod
    def _stack(samples: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = zip(*samples)
        data = np.stack(pixels).reshape(len(samples), 784)
        return data.astype(np.float32) * np.float32(1 / 255), ONE_HOT[list(labels)]

    def _train(self, batches: Iterator[Any]) -> float:
        """Seconds an epoch takes."""
        start = time.perf_counter()
        for data, labels in batches:
            self._step(data, labels)
        self._step.finish()
        return time.perf_counter() - start

    def alone(self) -> float:
        """Batches that are there already."""
        return self._train(iter(self._batches))

    def calibrate(self) -> dict[str, float]:
        """Seconds of a step, of which the sleeping source takes 0.9 from now on, and what a nap takes beyond its time.

        The system rounds a nap up, by timer slack and by waking: some 0.1 ms, a good part of a step. Naps are asked for
        shorter by this, as measured with nothing else at work, so that 0.9 of a step is what they take.
        """
        step = statistics.median(self.alone() for _ in range(5)) / STEPS
        self._nap, self._overshoot = 0.9 * step, 0.0
        self._napped.clear()
        for _ in range(100):
            self._sleep(self._nap)
        self._overshoot = statistics.median(self._napped) - self._nap
        self._napped.clear()
        return {"step": step, "overshoot": self._overshoot}

    def _sleep(self, seconds: float) -> None:
        began = time.perf_counter()
        time.sleep(max(0.0, seconds - self._overshoot))
        self._napped.append(time.perf_counter() - began)

    def napped(self) -> float:
        """The median of what naps have taken since the last call, while training went on."""
        naps = self._napped.copy()
        self._napped.clear()
        return statistics.median(naps)

    def _sleeping(self) -> Iterator[Any]:
        for batch in self._batches:
            self._sleep(self._nap)
            yield batch

    def sleeping_plain(self) -> float:
        return self._train(self._sleeping())

    def sleeping_hidden(self) -> float:
        from owl.aio.pipeline import Pipeline

        return self._train(iter(Pipeline(self._sleeping).prefetch(2)))

    def beside_a_napper(self) -> float:
        """Training alone, while a thread naps as the sleeping source does and does nothing else."""
        done = threading.Event()

        def nap() -> None:
            while not done.is_set():
                self._sleep(self._nap)

        napper = threading.Thread(target=nap)
        napper.start()
        seconds = self.alone()
        done.set()
        napper.join()
        self._napped.clear()
        return seconds

    # An epoch of augmented batches is shorter: augmenting is by far the larger part of it. Images are augmented a batch
    # at a time, as the MNIST programs do it, or one by one, as most datasets do.

    def _whole(self, nap: float) -> EpochBatches:
        images, labels = zip(*self._samples[: EPOCH * BATCH])
        split = Split(np.stack(images).reshape(-1, 784), np.array(labels, np.uint8))
        return Waiting(split, BATCH, 0, True, BufferPool(depth=16), functools.partial(self._sleep, nap) if nap else int)

    def whole_plain(self, nap: float = 0.0) -> float:
        batches = self._whole(nap)
        return self._train(batches[at] for at in range(EPOCH))

    def whole_hidden(self, nap: float = 0.0) -> float:
        from owl.aio.pipeline import Pipeline

        return self._train(iter(Pipeline(self._whole(nap), concurrency=os.cpu_count() or 1).prefetch(8)))

    def _augmented(self, nap: float) -> Iterator[Any]:
        for at in range(0, EPOCH * BATCH, BATCH):
            if nap:
                self._sleep(nap)
            rng = np.random.default_rng(at)
            pixels, labels = zip(*(augment(sample, rng) for sample in self._samples[at : at + BATCH]))
            yield np.stack(pixels), ONE_HOT[list(labels)]

    def _augmenting(self, nap: float) -> Any:
        from owl.aio.pipeline import Pipeline

        def read() -> Iterator[Any]:
            for at in range(0, EPOCH * BATCH, BATCH):
                if nap:
                    self._sleep(nap)
                yield from self._samples[at : at + BATCH]

        def hot(sample: Any, rng: np.random.Generator) -> Any:
            image, label = augment(sample, rng)
            return image, ONE_HOT[label]

        return Pipeline(read).map(hot, concurrency=1).batch(BATCH).prefetch(2)

    def single_plain(self, nap: float = 0.0) -> float:
        return self._train(self._augmented(nap))

    def single_hidden(self, nap: float = 0.0) -> float:
        return self._train(iter(self._augmenting(nap)))

    def cost(self, stages: int) -> float:
        """Seconds that an item takes through so many no-op stages."""
        from owl.aio.pipeline import Pipeline

        pipe = Pipeline(range(50_000))
        for _ in range(stages):
            pipe = pipe.map(no_op)
        start = time.perf_counter()
        items = sum(1 for _ in pipe)
        return (time.perf_counter() - start) / items


def train(cores: int) -> None:
    """The trainer's process."""
    training = Training(cores)
    names = [name for name in dir(training) if not name.startswith("_")]
    serve({name: getattr(training, name) for name in names})


def overlap(rounds: int, cores: int) -> None:
    with Worker("benchmarks.pipeline", "train", "--threads", str(cores)) as worker:
        measured = worker.call("calibrate")
        step, overshoot = measured["step"], measured["overshoot"]
        naps: dict[str, list[float]] = {"pipeline": [], "plain loop": []}

        def sleeping(contestant: str, command: str) -> float:
            seconds = worker.call(command)
            naps[contestant].append(worker.call("napped"))
            return seconds

        print(f"\n### An epoch of {STEPS} steps of {step * 1e6:.0f} µs; the source sleeps 0.9 of a step per batch\n")
        seconds = interleave(
            {
                "training alone": lambda: worker.call("alone"),
                "pipeline": lambda: sleeping("pipeline", "sleeping_hidden"),
                "plain loop": lambda: sleeping("plain loop", "sleeping_plain"),
                "training alone, beside a thread that naps": lambda: worker.call("beside_a_napper"),
            },
            rounds,
        )
        print(table(seconds, "training alone", "ms"))
        shares = ", ".join(f"{statistics.median(taken) / step:.2f} in the {name}" for name, taken in naps.items())
        print(
            f"\nA nap takes {overshoot * 1e6:.0f} µs more than asked for where nothing else is at work, so it is asked "
            f"for that much less. As measured during training it took, of a step, {shares}.\n",
            flush=True,
        )

        for kind, how in (("whole", "a batch at a time, as in the MNIST programs"), ("single", "one by one")):
            nap = worker.call(f"{kind}_plain") / EPOCH  # then waiting is half of the plain loop's time
            seconds = interleave(
                {
                    "plain loop": functools.partial(worker.call, f"{kind}_plain"),
                    "pipeline": functools.partial(worker.call, f"{kind}_hidden"),
                    "plain loop, half I/O": functools.partial(worker.call, f"{kind}_plain", nap=nap),
                    "pipeline, half I/O": functools.partial(worker.call, f"{kind}_hidden", nap=nap),
                },
                max(5, rounds // 2),
            )
            print(f"\n### An epoch of {EPOCH} steps on images augmented {how}\n")
            for reference in ("plain loop", "plain loop, half I/O"):
                other = reference.replace("plain loop", "pipeline")
                print(table({name: seconds[name] for name in (reference, other)}, reference, "ms"), "\n", flush=True)

        costs = interleave({str(n): functools.partial(worker.call, "cost", stages=n) for n in (1, 5)}, rounds)
        cost = statistics.median((many - one) / 4 for one, many in zip(costs["1"], costs["5"]))
        print(f"A no-op stage costs {cost * 1e6:.2f} µs an item.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns for each contestant")
    parser.add_argument("--threads", type=int, default=threads(), help="threads of the training step")
    parser.add_argument("--only", choices=("throughput", "overlap"), help="one part of it")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker == "train":
        train(arguments.threads)
    elif arguments.worker:
        load(arguments.worker)
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with Idleness() as idleness:
            if arguments.only != "throughput":
                overlap(arguments.rounds, arguments.threads)
            if arguments.only != "overlap":
                throughput(arguments.rounds)
        print()
        print(circumstances(idleness, ("owl-runtime", "numpy", "scipy", "torch", "spdl")))


if __name__ == "__main__":
    main()
