"""The training loop, the loss on held-out text, and sampling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import owl
from owl import NArray
from owl.apps.charlm.model import Memory, Parameters, loss, no_memory, predict, read
from owl.apps.charlm.text import Alphabet, Corpus, pieces, steps

MOST_NORM = 5.0  # of a gradient
WARM_UP = 20  # steps


@dataclass(frozen=True)
class Sizes:
    """How much of the text a step reads."""

    batch: int
    length: int


@dataclass
class Training:
    """A net in training: what comes of a step, and what is told after an epoch."""

    corpus: Corpus
    sizes: Sizes
    params: Parameters
    losses: list[float] = field(default_factory=list)
    tests: list[tuple[int, float]] = field(default_factory=list)  # after how many steps, and the loss

    @property
    def hidden(self) -> int:
        return self.params.scores.shape[1]

    def epochs(self, count: int, rate: float) -> Iterator[str]:
        """Trains, and yields a line for each epoch. Nothing is asked of the device within one."""
        each = steps(self.corpus.train, self.sizes.batch, self.sizes.length)
        optimizer = owl.optim.AdamW(owl.optim.warmup(WARM_UP, owl.optim.cosine(rate, max(1, count * each))))
        state = optimizer.init(self.params)
        step = owl.value_and_grad(loss, has_aux=True)
        for number in range(1, count + 1):
            start = time.perf_counter()
            memory = no_memory(self.hidden, self.sizes.batch)
            seen: list[NArray] = []
            for piece in pieces(self.corpus.train, self.sizes.batch, self.sizes.length):
                (value, memory), gradients = step(self.params, memory, self.characters(piece))
                gradients, _ = owl.optim.clip_by_norm(gradients, MOST_NORM)
                self.params, state = optimizer.update(gradients, state, self.params)
                seen.append(value)
            owl.wait_for_all()
            seconds = time.perf_counter() - start
            self.losses += [float(value) for value in seen]
            test = self.test()
            self.tests.append((len(self.losses), test))
            speed = each * self.sizes.batch * self.sizes.length / seconds
            mean = float(np.mean(self.losses[-each:]))
            yield (
                f"epoch {number:{len(str(count))}}/{count}: loss {mean:.3f}, on held-out text {test:.3f} "
                f"({test / np.log(2):.2f} bits per character), {speed:,.0f} characters/s"
            )

    def characters(self, piece: NDArray[np.int64]) -> list[NArray]:
        """A piece of text as arrays, one-hot, a character after the other."""
        return [owl.from_numpy(row) for row in self.corpus.alphabet.one_hot(piece)]

    def test(self) -> float:
        """The mean loss on the held-out text; evaluates and blocks."""
        memory: Memory = no_memory(self.hidden, 1)
        values: list[NArray] = []
        for piece in pieces(self.corpus.test, 1, self.sizes.length):
            value, memory = loss(self.params, memory, self.characters(piece))
            values.append(value)
        return float(np.mean([float(value) for value in values]))


def sample(
    params: Parameters,
    alphabet: Alphabet,
    count: int,
    temperature: float,
    seed: int,
    start: str,
    write: Callable[[str], None],
) -> None:
    """Writes `count` characters, one after the other, each drawn by its probability; evaluates and blocks."""
    rng = np.random.default_rng(seed)
    memory = no_memory(params.scores.shape[1], 1)
    numbers = alphabet.encode(start)
    for k in range(count + len(numbers)):
        if k < len(numbers):
            number = int(numbers[k])
        else:
            scores = predict(params, memory).to_numpy()[0].astype(np.float64) / temperature
            weights = np.exp(scores - scores.max())
            number = int(rng.choice(len(alphabet), p=weights / weights.sum()))
        write(alphabet.characters[number])
        memory = read(params, memory, owl.from_numpy(alphabet.one_hot(np.array([number]))))
