"""Unannotated loops as people write them: nothing says where a step begins or ends.

Each function takes the steps to count through and a batch size, runs the loop and returns what it observed and the
parameters at the end, as NumPy arrays and floats. The graph of a loop depends on its arguments alone, so two runs must
agree in every bit. `LOOPS` lists them all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import owl
from owl import elewise as ele
from tests.support.devices import new_device

INPUTS, HIDDEN, OUTPUTS = 784, 256, 10

Batch = tuple[np.ndarray, np.ndarray]
Result = list[Any]


# ------------------------------------------------------------------------------------------------------------ material


def batches(size: int, count: int = 8, last: int | None = None, inputs: tuple[int, ...] = (INPUTS,), seed: int = 0):
    """`count` batches of noise with random labels; the last one may be shorter, as an epoch's is."""
    rng = np.random.default_rng(seed)
    out: list[Batch] = []
    for k in range(count):
        n = last if last and k == count - 1 else size
        labels = np.eye(OUTPUTS, dtype=np.float32)[rng.integers(0, OUTPUTS, n)]
        out.append((rng.random((n, *inputs), dtype=np.float32), labels))
    return out


def array(shape: list[int], scale: float, seed: int) -> owl.NArray:
    """A parameter, the same in every run and on every device."""
    values = np.random.default_rng(seed).standard_normal(shape[::-1]) * scale
    return owl.from_numpy(values.astype(np.float32))


def perceptron_parameters(hidden: int = HIDDEN) -> tuple[owl.NArray, ...]:
    return (
        array([hidden, INPUTS], 0.01, 1),
        array([OUTPUTS, hidden], 0.1, 2),
        owl.zeros([hidden, 1]),
        owl.zeros([10, 1]),
    )


def observe(*arrays: owl.NArray) -> Result:
    return [a.to_numpy() for a in arrays]


def square_sum(x: owl.NArray) -> owl.NArray:
    return ele.mult(x, x).sum(0).sum(1)


# ------------------------------------------------------------------------------------------------------- the perceptron


def perceptron(
    steps: Iterable[int], batch: int, accuracy_every: int = 20, last: int | None = 12, evaluate: bool = True
) -> Result:
    """The classic script: a short last batch, the training accuracy now and then, an evaluation after each epoch."""
    epoch = batches(batch, 27 if evaluate else 8, last)
    held_out = batches(batch, 5, seed=9)
    rate = 0.1 / batch
    w1, w2, b1, b2 = perceptron_parameters()
    seen: Result = []
    for step in steps:
        images, labels = epoch[step % len(epoch)]
        data = owl.from_numpy(images)
        label = owl.from_numpy(labels)
        a1 = ele.relu(w1 * data + b1)
        a2 = owl.conv.softmax(w2 * a1 + b2)
        s2 = a2 - label
        s1 = ele.relu_back(w2.trans() * s2, a1)
        gw2 = s2 * a1.trans()
        gw1 = s1 * data.trans()
        gb2 = s2.sum(1)
        gb1 = s1.sum(1)
        w1 -= rate * gw1
        w2 -= rate * gw2
        b1 -= rate * gb1
        b2 -= rate * gb2
        if step % accuracy_every == accuracy_every - 1:
            seen.append((a2.argmax(0) - label.argmax(0)).count_zero())
        if evaluate and step % len(epoch) == len(epoch) - 1:
            right = 0
            for images, labels in held_out:
                data = owl.from_numpy(images)
                label = owl.from_numpy(labels)
                guess = owl.conv.softmax(w2 * ele.relu(w1 * data + b1) + b2)
                right += (guess.argmax(0) - label.argmax(0)).count_zero()
            seen.append(right)
    return seen + observe(w1, w2, b1, b2)


def perceptron_quiet(steps: Iterable[int], batch: int) -> Result:
    """Nothing is asked for until the end."""
    return perceptron(steps, batch, accuracy_every=1 << 30, last=None, evaluate=False)


def loss_at_end(steps: Iterable[int], batch: int) -> Result:
    """Something is printed at the end of every step."""
    return perceptron(steps, batch, accuracy_every=1, last=None, evaluate=False)


def loss_in_middle(steps: Iterable[int], batch: int) -> Result:
    """The loss is printed in every step, before the gradients are written down."""
    feed = batches(batch)
    rate = 0.1 / batch
    w1, w2, b1, b2 = perceptron_parameters()
    seen: Result = []
    for step in steps:
        images, labels = feed[step % len(feed)]
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        a1 = ele.relu(w1 * data + b1)
        a2 = owl.conv.softmax(w2 * a1 + b2)
        s2 = a2 - label
        seen.append(float(square_sum(s2)))
        s1 = ele.relu_back(w2.trans() * s2, a1)
        gw2 = s2 * a1.trans()
        gw1 = s1 * data.trans()
        gb2 = s2.sum(1)
        gb1 = s1.sum(1)
        w1 -= rate * gw1
        w2 -= rate * gw2
        b1 -= rate * gb1
        b2 -= rate * gb2
    return seen + observe(w1, w2, b1, b2)


def preloaded(steps: Iterable[int], batch: int) -> Result:
    """The batches are owl arrays from the start; the loop creates none."""
    feed = [(owl.from_numpy(images), owl.from_numpy(labels)) for images, labels in batches(batch)]
    rate = 0.1 / batch
    w1, w2, b1, b2 = perceptron_parameters()
    for step in steps:
        data, label = feed[step % len(feed)]
        a1 = ele.relu(w1 * data + b1)
        s2 = owl.conv.softmax(w2 * a1 + b2) - label
        s1 = ele.relu_back(w2.trans() * s2, a1)
        gw2 = s2 * a1.trans()
        gw1 = s1 * data.trans()
        w1 -= rate * gw1
        w2 -= rate * gw2
        b2 -= rate * s2.sum(1)
    return observe(w1, w2, b2)


def functional(steps: Iterable[int], batch: int) -> Result:
    """A step is a function from parameters to parameters; nothing is updated in place."""
    feed = batches(batch)
    rate = 0.1 / batch
    w1, w2, _, _ = perceptron_parameters()

    def step_of(w1: owl.NArray, w2: owl.NArray, images: np.ndarray, labels: np.ndarray):
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        a1 = ele.relu(w1 * data)
        s2 = owl.conv.softmax(w2 * a1) - label
        s1 = ele.relu_back(w2.trans() * s2, a1)
        return w1 - rate * (s1 * data.trans()), w2 - rate * (s2 * a1.trans())

    for step in steps:
        w1, w2 = step_of(w1, w2, *feed[step % len(feed)])
    return observe(w1, w2)


def list_of_losses(steps: Iterable[int], batch: int) -> Result:
    """Losses are kept as arrays and looked at when training is over."""
    feed = batches(batch)
    rate = 0.1 / batch
    w1, w2, b1, b2 = perceptron_parameters()
    losses = []
    total = owl.zeros([1, 1])
    for step in steps:
        images, labels = feed[step % len(feed)]
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        a1 = ele.relu(w1 * data + b1)
        s2 = owl.conv.softmax(w2 * a1 + b2) - label
        loss = square_sum(s2)
        losses.append(loss)
        total += loss
        gw1 = ele.relu_back(w2.trans() * s2, a1) * data.trans()
        w1 -= rate * gw1
    return [float(loss) for loss in losses] + observe(total, w1)


def accumulation(steps: Iterable[int], batch: int) -> Result:
    """Gradients of four batches add up before the parameters move."""
    feed = batches(batch)
    rate = 0.1 / batch
    w1, w2, b1, b2 = perceptron_parameters()
    k = 0
    for _ in steps:
        g1, g2 = owl.zeros([HIDDEN, INPUTS]), owl.zeros([OUTPUTS, HIDDEN])
        for _ in range(4):
            images, labels = feed[k % len(feed)]
            k += 1
            data, label = owl.from_numpy(images), owl.from_numpy(labels)
            a1 = ele.relu(w1 * data + b1)
            s2 = owl.conv.softmax(w2 * a1 + b2) - label
            s1 = ele.relu_back(w2.trans() * s2, a1)
            g2 += s2 * a1.trans()
            g1 += s1 * data.trans()
        w1 -= rate * g1
        w2 -= rate * g2
    return observe(w1, w2)


def nested(steps: Iterable[int], batch: int) -> Result:
    """Something more in every 7th step, and in every 15th an evaluation that is longer than a step."""
    feed, held_out = batches(batch), batches(batch, 12, seed=9)
    rate = 0.1 / batch
    w1, w2, b1, b2 = perceptron_parameters()
    memory = owl.zeros([OUTPUTS, HIDDEN])
    seen: Result = []
    for step in steps:
        images, labels = feed[step % len(feed)]
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        a1 = ele.relu(w1 * data + b1)
        s2 = owl.conv.softmax(w2 * a1 + b2) - label
        gw2 = s2 * a1.trans()
        gw1 = ele.relu_back(w2.trans() * s2, a1) * data.trans()
        w1 -= rate * gw1
        w2 -= rate * gw2
        if step % 7 == 6:
            memory += gw2
        if step % 15 == 14:
            wrong = owl.zeros([1, 1])
            for images, labels in held_out:
                guess = w2 * ele.relu(w1 * owl.from_numpy(images) + b1) + b2
                wrong += (guess.argmax(0) - owl.from_numpy(labels).argmax(0)).sum(1)
            seen.append(float(wrong))
    return seen + observe(w1, w2, memory)


# ------------------------------------------------------------------------------------------------------------- branches


def branch(steps: Iterable[int], batch: int, on_value: bool = False) -> Result:
    """Three steps in ten do something more; with `on_value` a branch also depends on a computed value."""
    feed = batches(batch)
    rate = 0.1 / batch
    coin = random.Random(3)
    w1, w2, b1, b2 = perceptron_parameters()
    memory = owl.zeros([OUTPUTS, 1])
    for step in steps:
        images, labels = feed[step % len(feed)]
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        a1 = ele.relu(w1 * data + b1)
        if coin.random() < 0.3:
            a1 = a1 * 0.9
        a2 = owl.conv.softmax(w2 * a1 + b2)
        s2 = a2 - label
        s1 = ele.relu_back(w2.trans() * s2, a1)
        gw2 = s2 * a1.trans()
        gw1 = s1 * data.trans()
        if on_value and float(square_sum(s2)) > 0.9 * batch:
            gw1 = gw1 * 0.5
            gw2 = gw2 * 0.5
        w1 -= rate * gw1
        w2 -= rate * gw2
        if step % 7 == 0:
            memory += s2.sum(1)
    return observe(w1, w2, memory)


def branch_on_value(steps: Iterable[int], batch: int) -> Result:
    return branch(steps, batch, on_value=True)


def stochastic_depth(steps: Iterable[int], batch: int) -> Result:
    """Eight layers, each skipped in half of all steps: no two steps need be alike."""
    feed = batches(batch)
    coin = random.Random(1)
    layers = [(array([64, 64], 0.1, 10 + j), owl.zeros([64, 1])) for j in range(8)]
    first, last = array([64, INPUTS], 0.05, 1), array([OUTPUTS, 64], 0.1, 2)
    for step in steps:
        images, labels = feed[step % len(feed)]
        h = ele.relu(first * owl.from_numpy(images))
        label = owl.from_numpy(labels)
        used = []
        for w, b in layers:
            if coin.random() < 0.5:
                below = h
                h = ele.relu(w * h + b)
                used.append((w, b, below, h))
        d = owl.conv.softmax(last * h) - label
        g = last.trans() * d
        last -= 1e-3 * (d * h.trans())
        for w, b, below, above in reversed(used):
            z = ele.relu_back(g, above)
            g = w.trans() * z
            w -= 1e-3 * (z * below.trans())
            b -= 1e-3 * z.sum(1)
    return observe(layers[0][0], layers[7][1], last)


# --------------------------------------------------------------------------------------------------------------- shapes


class Layer:
    """A fully connected layer as people write one."""

    def __init__(self, inputs: int, outputs: int, seed: int) -> None:
        self.w, self.b = array([outputs, inputs], 0.05, seed), owl.zeros([outputs, 1])

    def forward(self, x: owl.NArray) -> owl.NArray:
        self.x = x
        self.y = ele.relu(self.w * x + self.b)
        return self.y

    def backward(self, d: owl.NArray, rate: float) -> owl.NArray:
        g = ele.relu_back(d, self.y)
        below = self.w.trans() * g
        self.w -= rate * (g * self.x.trans())
        self.b -= rate * g.sum(1)
        return below


def layers(steps: Iterable[int], batch: int) -> Result:
    """A stack of equal layers: within a step much looks like a loop that comes round."""
    sizes = [INPUTS, *[64] * 7, OUTPUTS]
    stack = [Layer(i, o, k) for k, (i, o) in enumerate(pairwise(sizes))]
    feed = batches(batch)

    def train(images: np.ndarray, labels: np.ndarray) -> None:
        h, label = owl.from_numpy(images), owl.from_numpy(labels)
        for layer in stack:
            h = layer.forward(h)
        d = h - label
        for layer in reversed(stack):
            d = layer.backward(d, 1e-3)

    for step in steps:
        train(*feed[step % len(feed)])
    return observe(stack[0].w, stack[3].w, stack[7].b)


def recurrent(steps: Iterable[int], batch: int, length: int = 20) -> Result:
    """A recurrent net, unrolled over 20 moments and back."""
    batch = min(batch, 8)
    rng = np.random.default_rng(0)
    sequence = [rng.random((batch, 16), dtype=np.float32) for _ in range(length)]
    wx, wh, b = array([64, 16], 0.1, 1), array([64, 64], 0.1, 2), owl.zeros([64, 1])
    for _ in steps:
        hidden, inputs = [owl.zeros([64, batch])], []
        for t in range(length):
            inputs.append(owl.from_numpy(sequence[t]))
            hidden.append(ele.tanh(wx * inputs[t] + wh * hidden[t] + b))
        d = hidden[length]
        gx, gh = owl.zeros([64, 16]), owl.zeros([64, 64])
        for t in reversed(range(length)):
            z = ele.tanh_back(d, hidden[t + 1])
            gx += z * inputs[t].trans()
            gh += z * hidden[t].trans()
            d = wh.trans() * z
        wx -= 1e-3 * gx
        wh -= 1e-3 * gh
    return observe(wx, wh)


class Tape:
    """Holds a step's values in a reference cycle: they die when garbage is collected."""

    def __init__(self) -> None:
        self.own = self
        self.values: dict[str, owl.NArray] = {}


def cyclic(steps: Iterable[int], batch: int) -> Result:
    feed = batches(batch)
    rate = 0.1 / batch
    w1, w2, _, _ = perceptron_parameters()
    for step in steps:
        images, labels = feed[step % len(feed)]
        v = Tape().values
        v["own"] = v  # type: ignore[assignment]
        v["data"], v["label"] = owl.from_numpy(images), owl.from_numpy(labels)
        v["a1"] = ele.relu(w1 * v["data"])
        v["s2"] = owl.conv.softmax(w2 * v["a1"]) - v["label"]
        v["s1"] = ele.relu_back(w2.trans() * v["s2"], v["a1"])
        v["gw2"] = v["s2"] * v["a1"].trans()
        v["gw1"] = v["s1"] * v["data"].trans()
        w1 -= rate * v["gw1"]
        w2 -= rate * v["gw2"]
        for _ in range(50):
            Tape()
    return observe(w1, w2)


def forever(steps: Iterable[int], batch: int) -> Result:
    """One operation, again and again."""
    a = owl.zeros([16, 1])
    for _ in steps:
        a = a + 1
    return observe(a)


# ------------------------------------------------------------------------------------------------------ convolution net

MOMENTUM = 0.75


def convolution_net(steps: Iterable[int], batch: int, loss_every: int = 20) -> Result:
    """The graph of a convolution net with momentum, its operations replaced by others of the same shapes.

    A convolution is a matrix product over a reshaped array, pooling is a slice.
    """
    batch = min(batch, 64)
    feed = batches(batch, inputs=(INPUTS,))
    rate = 0.01 / batch
    w = [array([6, 25], 0.1, 1), array([12, 36], 0.1, 2), array([OUTPUTS, 192], 0.1, 3)]
    b = [owl.zeros([6, 1]), owl.zeros([12, 1]), owl.zeros([OUTPUTS, 1])]
    dw, db = [owl.zeros(v.shape) for v in w], [owl.zeros(v.shape) for v in b]
    seen: Result = []
    for step in steps:
        images, labels = feed[step % len(feed)]
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        x0 = data[:400].reshape([25, 16 * batch])
        a1 = ele.relu(w[0] * x0 + b[0])
        a2 = a1.reshape([96, batch])
        x2 = owl.concat([a2, a2, a2, a2, a2, a2], 0).reshape([36, 16 * batch])
        a3 = ele.relu(w[1] * x2 + b[1])
        a4 = a3.reshape([192, batch])
        s5 = owl.conv.softmax(w[2] * a4 + b[2]) - label
        s4 = (w[2].trans() * s5).reshape(a3.shape)
        s3 = ele.relu_back(s4, a3)
        s2 = (w[1].trans() * s3).reshape([576, batch])[:96].reshape(a1.shape)
        s1 = ele.relu_back(s2, a1)
        gw = [s1 * x0.trans(), s3 * x2.trans(), s5 * a4.trans()]
        gb = [s1.sum(1), s3.sum(1), s5.sum(1)]
        for j in range(3):
            dw[j] = MOMENTUM * dw[j] - rate * gw[j]
            db[j] = MOMENTUM * db[j] - rate * gb[j]
            w[j] += dw[j]
            b[j] += db[j]
        if step % loss_every == loss_every - 1:
            seen.append(float(square_sum(s5)))
    return seen + observe(*w, *b)


# --------------------------------------------------------------------------------------------------- devices and tasks

_devices: list[owl.Device] = []


def two() -> list[owl.Device]:
    while len(_devices) < 2:
        _devices.append(new_device())
    return _devices


def two_devices(steps: Iterable[int], batch: int) -> Result:
    """Data parallelism: two devices, each with parameters of its own, exchange gradients."""
    feed = batches(batch)
    rate = 0.1 / batch
    devices = two()
    parameters = []
    for device in devices:
        with device:
            parameters.append([array([HIDDEN, INPUTS], 0.01, 1), array([OUTPUTS, HIDDEN], 0.1, 2)])
    for step in steps:
        gradients = []
        for d, device in enumerate(devices):
            with device:
                w1, w2 = parameters[d]
                images, labels = feed[(2 * step + d) % len(feed)]
                data, label = owl.from_numpy(images), owl.from_numpy(labels)
                a1 = ele.relu(w1 * data)
                s2 = owl.conv.softmax(w2 * a1) - label
                s1 = ele.relu_back(w2.trans() * s2, a1)
                gradients.append((s1 * data.trans(), s2 * a1.trans()))
        for d, device in enumerate(devices):
            with device:
                for k in range(2):
                    parameters[d][k] -= rate * (gradients[d][k] + gradients[1 - d][k])
        del w1, w2
    return observe(parameters[0][0], parameters[1][1])


async def _pauses(coin: random.Random) -> None:
    while coin.random() < 0.25:
        await asyncio.sleep(0)


def two_tasks(steps: Iterable[int], batch: int) -> Result:
    """Two nets train in two asyncio tasks that take turns at any place."""
    coin = random.Random(5)

    async def train(hidden: int) -> Result:
        feed = batches(batch)
        rate = 0.1 / batch
        w1, w2 = array([hidden, INPUTS], 0.01, 1), array([OUTPUTS, hidden], 0.1, 2)
        seen: Result = []
        for step in steps:
            images, labels = feed[step % len(feed)]
            data, label = owl.from_numpy(images), owl.from_numpy(labels)
            await _pauses(coin)
            a1 = ele.relu(w1 * data)
            await _pauses(coin)
            a2 = owl.conv.softmax(w2 * a1)
            s2 = a2 - label
            await _pauses(coin)
            s1 = ele.relu_back(w2.trans() * s2, a1)
            gw2 = s2 * a1.trans()
            gw1 = s1 * data.trans()
            await _pauses(coin)
            w1 -= rate * gw1
            w2 -= rate * gw2
            await _pauses(coin)
            if step % 10 == 9:
                seen.append(float(square_sum(s2)))
        return seen + observe(w1, w2)

    async def main() -> list[Result]:
        return list(await asyncio.gather(train(HIDDEN), train(HIDDEN // 2)))

    return [value for result in asyncio.run(main()) for value in result]


def task_per_half(steps: Iterable[int], batch: int) -> Result:
    """Every step starts two tasks, each with half of the batch, and uses what they recorded after they have ended."""
    feed = batches(batch)
    rate = 0.1 / batch
    half = batch // 2
    coin = random.Random(2)

    async def gradients(w1: owl.NArray, w2: owl.NArray, images: np.ndarray, labels: np.ndarray):
        data, label = owl.from_numpy(images), owl.from_numpy(labels)
        a1 = ele.relu(w1 * data)
        for _ in range(coin.randrange(3)):
            await asyncio.sleep(0)
        s2 = owl.conv.softmax(w2 * a1) - label
        s1 = ele.relu_back(w2.trans() * s2, a1)
        for _ in range(coin.randrange(3)):
            await asyncio.sleep(0)
        return s1 * data.trans(), s2 * a1.trans()

    async def main() -> Result:
        w1, w2, _, _ = perceptron_parameters()
        for step in steps:
            x, y = feed[step % len(feed)]
            one = gradients(w1, w2, x[:half], y[:half])
            other = gradients(w1, w2, x[half:], y[half:])
            (g1, g2), (h1, h2) = await asyncio.gather(one, other)
            w1 -= rate * (g1 + h1)
            w2 -= rate * (g2 + h2)
        return observe(w1, w2)

    return asyncio.run(main())


def task_per_request(steps: Iterable[int], batch: int) -> Result:
    """A service: a fresh task for each request of one, two or four inputs, eight at a time."""
    w1, w2, b1, b2 = perceptron_parameters()
    inputs = np.random.default_rng(0).random((4, INPUTS), dtype=np.float32)
    coin = random.Random(2)

    async def answer() -> float:
        x = owl.from_numpy(inputs[: coin.choice((1, 2, 4))])
        for _ in range(coin.randrange(4)):
            await asyncio.sleep(0)
        h = ele.relu(w1 * x + b1)
        for _ in range(coin.randrange(4)):
            await asyncio.sleep(0)
        return float(owl.conv.softmax(w2 * h + b2).max())

    async def main() -> Result:
        answers: Result = []
        for _ in steps:
            answers += await asyncio.gather(*(answer() for _ in range(8)))
        return answers

    return asyncio.run(main())


# ------------------------------------------------------------------------------------------------------------- the list


@dataclass(frozen=True)
class Loop:
    """A loop, and what the planner must make of its second half.

    `hits`: the least share of known plans. `stored`: the most bytes that a step may store outside plans, by batch size;
    None where nothing is promised.
    """

    run: Callable[..., Result]
    steps: int
    hits: float
    stored: Callable[[int], float] | None = None

    @property
    def name(self) -> str:
        return self.run.__name__


def _floats(*shapes: tuple[int, ...]) -> int:
    return 4 * sum(int(np.prod(shape)) for shape in shapes)


WEIGHTS = _floats((HIDDEN, INPUTS), (OUTPUTS, HIDDEN))
BIASES = _floats((HIDDEN, 1), (OUTPUTS, 1))
SETTLED = WEIGHTS + BIASES  # what a step of the perceptron must store: what the next one reads


def _activations(batch: int) -> int:
    return _floats((HIDDEN, batch))


LOOPS = [
    Loop(perceptron, 162, 0.98, lambda batch: 1.05 * SETTLED + _activations(batch) // 10),
    Loop(perceptron_quiet, 120, 0.98, lambda batch: SETTLED),
    # At a demand the names of this step still stand for its values. Gradients are left over; an activation or an error
    # that goes through memory anyhow is stored.
    Loop(loss_at_end, 80, 0.98, lambda batch: 1.05 * SETTLED + 2.2 * _activations(batch)),
    Loop(loss_in_middle, 80, 0.98, lambda batch: 1.05 * SETTLED + 2.2 * _activations(batch)),
    # Parameters and momentum; in one step of 20 the values that are bound at the demand, about 320 KB.
    Loop(convolution_net, 160, 0.97, lambda batch: 1.05 * _floats((6, 26), (12, 37), (10, 193)) * 2 + 16_000),
    Loop(branch, 160, 0.94, lambda batch: 1.05 * SETTLED),
    Loop(branch_on_value, 160, 0.94, lambda batch: 1.05 * SETTLED + 1.2 * _activations(batch)),
    Loop(accumulation, 60, 0.94, lambda batch: 1.05 * WEIGHTS),
    Loop(recurrent, 40, 0.94, lambda batch: 1.05 * _floats((64, 16), (64, 64))),
    # Gradients cross from device to device, so they are stored besides the parameters; and again where they arrive, if
    # that is another memory.
    Loop(two_devices, 80, 0.94, lambda batch: (4 + any("remote" in str(device) for device in two())) * WEIGHTS),
    Loop(two_tasks, 100, 0.94, lambda batch: 1.05 * 1.5 * WEIGHTS + 0.4 * _activations(batch)),
    Loop(task_per_request, 40, 0.94, lambda batch: 8 * 4 * _floats((HIDDEN + OUTPUTS + 1, 1))),
    Loop(list_of_losses, 120, 0.94, lambda batch: WEIGHTS),
    Loop(forever, 20_000, 0.98, lambda batch: 16),
    Loop(functional, 100, 0.94, lambda batch: WEIGHTS),
    Loop(layers, 80, 0.94, lambda batch: 1.25 * _floats((64, INPUTS), *[(64, 64)] * 6, (OUTPUTS, 64), (458, 1))),
    Loop(nested, 120, 0.90, lambda batch: 1.25 * SETTLED),
    Loop(stochastic_depth, 240, 0.80, lambda batch: 1.25 * _floats((64, INPUTS), *[(64, 64)] * 8)),
    Loop(cyclic, 100, 0.94),
    Loop(preloaded, 100, 0.94, lambda batch: 1.05 * SETTLED),
    Loop(task_per_half, 100, 0.94, lambda batch: 1.05 * WEIGHTS),
]
