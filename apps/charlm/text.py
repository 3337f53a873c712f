"""Characters as numbers, and batches of them that follow one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from owl import OwlError

HELD_OUT = 0.05  # of a text, at its end


class TextError(OwlError, ValueError):
    """A text cannot be read, or is too short."""


def read(path: Path | None) -> str:
    """A text file in UTF-8, or Python's own help texts, some 460,000 characters."""
    if path is None:
        from pydoc_data import topics

        return "\n\n".join(topics.topics[name] for name in sorted(topics.topics))
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TextError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise TextError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None


@dataclass(frozen=True)
class Alphabet:
    """The characters of a text; a character's number is its place."""

    characters: str

    @classmethod
    def of(cls, text: str) -> Alphabet:
        """That of a text, in the order of code points."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's characters; raises TextError for one that the alphabet has not."""
        places = {character: k for k, character in enumerate(self.characters)}
        try:
            return np.array([places[character] for character in text], np.int64)
        except KeyError as error:
            raise TextError(f"the model has never seen the character {error.args[0]!r}") from None

    def one_hot(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[..., characters]``: 1 in the place of each number."""
        return np.eye(len(self), dtype=np.float32)[numbers]


@dataclass(frozen=True)
class Corpus:
    """A text divided into parts for training and for measuring."""

    alphabet: Alphabet
    train: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def of(cls, text: str, least: int) -> Corpus:
        """The parts of a text; raises TextError if the smaller one has fewer than `least` characters."""
        alphabet = Alphabet.of(text)
        numbers = alphabet.encode(text)
        split = len(numbers) - int(len(numbers) * HELD_OUT)
        if len(numbers) - split < least:
            part = f"its last {HELD_OUT:.0%} must be {least}"
            raise TextError(f"a text of {len(numbers)} characters is too short: {part}")
        return cls(alphabet, numbers[:split], numbers[split:])


def steps(numbers: NDArray[np.int64], batch: int, length: int) -> int:
    """How many pieces `pieces` gives."""
    return (len(numbers) // batch - 1) // length


def pieces(numbers: NDArray[np.int64], batch: int, length: int) -> Iterator[NDArray[np.int64]]:
    """Goes through a text from `batch` places at once, ``[length + 1, batch]`` a time; the last row begins the next."""
    rows = numbers[: len(numbers) // batch * batch].reshape(batch, -1).T
    for k in range(steps(numbers, batch, length)):
        yield rows[k * length : (k + 1) * length + 1]
