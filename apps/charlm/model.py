"""An LSTM over characters (Hochreiter and Schmidhuber, 1997, with forget gates); only the forward pass is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import owl
import owl.conv as conv
import owl.elewise as ele
from owl import NArray


class Parameters(NamedTuple):
    """Of the gates ``[hidden, characters + hidden]``, of the output ``[characters, hidden]``, and biases."""

    input: NArray
    forget: NArray
    output: NArray
    candidate: NArray
    input_bias: NArray
    forget_bias: NArray
    output_bias: NArray
    candidate_bias: NArray
    scores: NArray
    scores_bias: NArray


class Memory(NamedTuple):
    """What the net knows of the text so far, ``[hidden, batch]`` each."""

    cell: NArray
    hidden: NArray


def new_parameters(characters: int, hidden: int) -> Parameters:
    """Random weights on the current device; a net begins by forgetting little."""
    scale = 1 / math.sqrt(hidden)
    gates = [owl.randu([hidden, characters + hidden], -scale, scale) for _ in range(4)]
    biases = [owl.zeros([hidden, 1]), owl.ones([hidden, 1]), owl.zeros([hidden, 1]), owl.zeros([hidden, 1])]
    scores = [owl.randu([characters, hidden], -scale, scale), owl.zeros([characters, 1])]
    return Parameters._make([*gates, *biases, *scores])


def no_memory(hidden: int, batch: int) -> Memory:
    """That at the beginning of a text."""
    return Memory(owl.zeros([hidden, batch]), owl.zeros([hidden, batch]))


def read(p: Parameters, memory: Memory, character: NArray) -> Memory:
    """The memory after one more character, one-hot ``[characters, batch]``."""
    seen = owl.concat([character, memory.hidden], 0)
    keep = ele.sigm(p.forget * seen + p.forget_bias)
    write = ele.sigm(p.input * seen + p.input_bias)
    candidate = ele.tanh(p.candidate * seen + p.candidate_bias)
    show = ele.sigm(p.output * seen + p.output_bias)
    cell = ele.mult(keep, memory.cell) + ele.mult(write, candidate)
    return Memory(cell, ele.mult(show, ele.tanh(cell)))


def predict(p: Parameters, memory: Memory) -> NArray:
    """Scores before softmax of the next character, ``[characters, batch]``."""
    return p.scores * memory.hidden + p.scores_bias


def loss(p: Parameters, memory: Memory, text: Sequence[NArray]) -> tuple[NArray, Memory]:
    """The mean cross entropy of each next character of a piece of text, and the memory at its end."""
    total = None
    for character, following in pairwise(text):
        memory = read(p, memory, character)
        cost = conv.cross_entropy(predict(p, memory), following).sum()
        total = cost if total is None else total + cost
    assert total is not None  # there is a next character
    return total / ((len(text) - 1) * text[0].shape[1]), memory
