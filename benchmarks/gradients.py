"""What recorded gradients cost, beside gradients by hand and PyTorch's autograd: whole steps, and recording alone.

Both nets of `benchmarks.step` and `benchmarks.step_cnn` are trained on batches of 256, the copy of the numpy batch
included: by a script with gradients by hand, by ``owl.value_and_grad`` with the same update, by it with
``owl.optim.SGD``, and by PyTorch with ``backward()`` and ``optim.SGD``. Before anything is timed, all of them must
learn the same.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import step, step_cnn
from benchmarks.contest import compete, serve_step
from benchmarks.harness import threads

CONTESTANTS = {
    "owl": "owl, gradients by hand",
    "owl-recorded": "owl, recorded gradients",
    "owl-optim": "owl, recorded gradients and SGD",
    "autograd": "PyTorch, autograd and SGD",
}
Arrays = dict[str, np.ndarray]


class HandPerceptron(step.OwlStep):
    """As a careful person writes the perceptron's step."""

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        owl, ele, co = self.owl, self.ele, self.co
        data, label = owl.from_numpy(x), owl.from_numpy(y)
        a1 = ele.relu(self.w1 * data + self.b1)
        s2 = co.cross_entropy_back(self.w2 * a1 + self.b2, label)
        s1 = ele.relu_back(self.w2.trans() * s2, a1)
        gradients = {"w1": s1 * data.trans(), "b1": s1.sum(1), "w2": s2 * a1.trans(), "b2": s2.sum(1)}
        for name, gradient in gradients.items():
            setattr(self, name, getattr(self, name) - self.rate * gradient)


class HandNet(step_cnn.OwlNet):
    """As a careful person writes the convolution net's step."""

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        ele, convs, poolings, weights, bias = self.ele, self.convs, self.poolings, self.weights, self.bias
        data, label = self.owl.from_numpy(x).reshape([28, 28, 1, len(x)]), self.owl.from_numpy(y)
        a1 = ele.relu(convs[0].ff(data, weights[0], bias[0]))
        p1 = poolings[0].ff(a1)
        a2 = ele.relu(convs[1].ff(p1, weights[1], bias[1]))
        p2 = poolings[1].ff(a2)
        features = p2.reshape([512, len(x)])
        s3 = self.conv.cross_entropy_back(weights[2] * features + bias[2], label)
        e2 = (weights[2].trans() * s3).reshape(p2.shape)
        s2 = ele.relu_back(poolings[1].bp(e2, p2, a2), a2)
        s1 = ele.relu_back(poolings[0].bp(convs[1].bp(s2, p1, weights[1]), p1, a1), a1)
        gw = [
            convs[0].weight_grad(s1, data, weights[0]),
            convs[1].weight_grad(s2, p1, weights[1]),
            s3 * features.trans(),
        ]
        gb = [convs[0].bias_grad(s1), convs[1].bias_grad(s2), s3.sum(1)]
        self.weights = [w - self.rate * g for w, g in zip(weights, gw, strict=True)]
        self.bias = [b - self.rate * g for b, g in zip(bias, gb, strict=True)]


def perceptron_loss(p: dict[str, Any], data: Any, label: Any) -> Any:
    from owl import conv, elewise

    return conv.cross_entropy(p["w2"] * elewise.relu(p["w1"] * data + p["b1"]) + p["b2"], label).sum()


def net_loss(net: Any) -> Callable[..., Any]:
    def loss(p: dict[str, Any], data: Any, label: Any) -> Any:
        ele, (first, second), (pool, last) = net.ele, net.convs, net.poolings
        h = pool.ff(ele.relu(first.ff(data, p["w1"], p["b1"])))
        h = last.ff(ele.relu(second.ff(h, p["w2"], p["b2"]))).reshape([512, data.shape[3]])
        return net.conv.cross_entropy(p["w3"] * h + p["b3"], label).sum()

    return loss


class Recorded:
    """A step of which only the loss is written; with `optim` the update is an optimizer's."""

    def __init__(self, net: str, parameters: Arrays, rate: float, threads: int, optim: bool) -> None:
        by_hand = (HandPerceptron if net == "mlp" else HandNet)(parameters, rate, threads)
        self.owl, self.rate = by_hand.owl, rate
        self.shape = [784, -1] if net == "mlp" else [28, 28, 1, -1]
        self.p = {name: self.owl.from_numpy(value) for name, value in parameters.items()}
        self.gradients = self.owl.value_and_grad(perceptron_loss if net == "mlp" else net_loss(by_hand))
        self.optimizer = self.owl.optim.SGD(rate) if optim else None
        self.state = self.optimizer.init(self.p) if self.optimizer else None

    def __call__(self, x: np.ndarray, y: np.ndarray) -> None:
        data = self.owl.from_numpy(x)
        if len(self.shape) == 4:
            data = data.reshape(self.shape)
        _, gradients = self.gradients(self.p, data, self.owl.from_numpy(y))
        if self.optimizer is None:
            self.p = {name: value - self.rate * gradients[name] for name, value in self.p.items()}
        else:
            self.p, self.state = self.optimizer.update(gradients, self.state, self.p)

    def finish(self) -> None:
        self.owl.wait_for_all()

    def parameters(self) -> Arrays:
        return {name: value.to_numpy() for name, value in self.p.items()}


def contestant(net: str, name: str, cores: int) -> Any:
    module = SimpleNamespace(mlp=step, cnn=step_cnn).__dict__[net]
    parameters, rate = module.initial_parameters(), module.RATE
    if name == "owl":
        return (HandPerceptron if net == "mlp" else HandNet)(parameters, rate, cores)
    if name != "autograd":
        return Recorded(net, parameters, rate, cores, name == "owl-optim")
    from benchmarks import peers, peers_cnn

    return (peers.AutogradStep if net == "mlp" else peers_cnn.AutogradNet)(parameters, rate, cores)


def recording(net: str, rounds: int, cores: int) -> None:
    """Prints how long a step takes to record, while the executor is idle."""
    module = SimpleNamespace(mlp=step, cnn=step_cnn).__dict__[net]
    steps = {name: contestant(net, name, cores) for name in CONTESTANTS if name.startswith("owl")}
    batch = module.batches(module.BATCH if hasattr(module, "BATCH") else step.BATCH, 1)[0]
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round in range(rounds + 20):
        for name, one in steps.items():
            one.finish()
            start = time.perf_counter()
            one(*batch)
            if round >= 20:
                seconds[name].append(time.perf_counter() - start)
    copy = []
    for _ in range(rounds):
        start = time.perf_counter()
        kept = [steps["owl"].owl.from_numpy(array) for array in batch]
        copy.append(time.perf_counter() - start)
        del kept
        steps["owl"].finish()
    least = statistics.median(copy)
    print(f"Recording a step, medians of {rounds}, without the {1e6 * least:.1f} us of copying its batch:\n")
    base = statistics.median(seconds["owl"]) - least
    for name, values in seconds.items():
        own = statistics.median(values) - least
        print(f"| {CONTESTANTS[name]} | {1e6 * own:.1f} us | {own / base:.2f} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=["mlp", "cnn"], default="mlp", help="which net (default: mlp)")
    parser.add_argument("--rounds", type=int, default=15, help="turns for each contestant")
    parser.add_argument("--steps", type=int, help="steps in a turn, timed as one")
    parser.add_argument("--threads", type=int, default=threads(), help="threads for each contestant")
    parser.add_argument("--owl-only", action="store_true", help="leave PyTorch out, and with it the check")
    parser.add_argument("--worker", choices=[*CONTESTANTS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        module = SimpleNamespace(mlp=step, cnn=step_cnn).__dict__[options.net]
        made = contestant(options.net, options.worker, options.threads)
        serve_step(made, module.initial_parameters(), module.batches())
        return
    recording(options.net, 200, options.threads)
    if options.owl_only:
        return
    compete(
        "benchmarks.gradients",
        CONTESTANTS,
        "autograd",
        checked_steps=(step if options.net == "mlp" else step_cnn).CHECKED_STEPS,
        tolerance=step.TOLERANCE,
        steps=options.steps or (200 if options.net == "mlp" else 30),
        rounds=options.rounds,
        threads=options.threads,
        arguments=("--net", options.net),
    )


if __name__ == "__main__":
    main()
