"""A picture of a training: loss and accuracy over its steps, the first layer, and digits that are still misread."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import owl
import owl.conv as conv
from owl._files.whole import FileRefused, writable_target, write_whole
from owl.apps.mnist.dataset import SIDE, Split
from owl.apps.mnist.errors import PlotError
from owl.apps.mnist.model import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from owl import NArray

SHOWN_FILTERS = 16
SHOWN_DIGITS = 32
SMOOTHED_OVER = 25  # steps
INK, LOSS, ACCURACY, TEST = "#30343b", "#c2542d", "#2f6f9f", "#1d3d57"


class History:
    """Loss and accuracy of each batch as it was trained on, and of the test split after each epoch."""

    def __init__(self) -> None:
        self.images: list[int] = []
        self.losses: list[float] = []
        self.right: list[float] = []
        self.tests: list[tuple[int, float]] = []
        self._pending: list[tuple[int, list[tuple[NArray, NArray]]]] = []

    def watch(self, parts: list[tuple[NArray, NArray]]) -> None:
        """Record the loss of a batch, given as the scores before softmax and the labels of its parts.

        Evaluates nothing, so that the training runs on.
        """
        results = []
        for scores, label in parts:
            with scores.device:
                loss = conv.cross_entropy(scores, label).sum()
                results.append((loss, (scores.argmax(0) == label.argmax(0)).sum()))
        self._pending.append((sum(scores.shape[1] for scores, _ in parts), results))

    def end_epoch(self, accuracy: float) -> None:
        """Take in what was watched, and the accuracy on the test split; evaluates and blocks."""
        self.collect()
        self.tests.append((len(self.losses), accuracy))

    def collect(self) -> None:
        """Take in what was watched; evaluates and blocks."""
        for images, results in self._pending:
            self.images.append(images)
            self.losses.append(sum(float(loss) for loss, _ in results) / images)
            self.right.append(sum(float(right) for _, right in results) / images)
        self._pending.clear()


def check_target(path: Path) -> None:
    """Raise PlotError if a picture cannot be written to ``path``: better before the training than after it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise PlotError(f"{path}: plots need matplotlib: pip install 'owl-runtime[plot]'") from None
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise PlotError(f"{path}: a picture is a .png, .pdf or .svg file")
    try:
        writable_target(path)
    except FileRefused as refusal:
        raise PlotError(f"{path}: {refusal}") from None


def draw(path: Path, model: Model, history: History, test: Split) -> None:
    """Write the picture; evaluates and blocks."""
    from matplotlib.figure import Figure

    history.collect()
    figure = Figure(figsize=(12, 8.5), layout="constrained", facecolor="white")
    (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.15], hspace=0.05)
    draw_progress(top, history)
    left, right = bottom.subfigures(1, 2, width_ratios=[1, 1.5], wspace=0.05)
    draw_filters(left, model.filters())
    draw_misread(right, model, test)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format=path.suffix[1:].lower())
    try:
        write_whole(path, picture.getvalue())
    except FileRefused as refusal:
        raise PlotError(f"{path}: {refusal}") from None


def draw_progress(figure: SubFigure, history: History) -> None:
    """Loss and accuracy over the steps, side by side."""
    loss, accuracy = figure.subplots(1, 2)
    steps = np.arange(1, len(history.losses) + 1)
    for axes, values, colour in ((loss, history.losses, LOSS), (accuracy, history.right, ACCURACY)):
        scale = 100 if axes is accuracy else 1
        axes.plot(steps, np.multiply(values, scale), color=colour, alpha=0.25, linewidth=0.8)
        axes.plot(*smoothed(values, scale), color=colour, linewidth=1.8, label=f"batches, mean of {SMOOTHED_OVER}")
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    loss.set_title("loss (cross entropy)", loc="left", color=INK)
    if history.losses:
        loss.set_yscale("log")
    accuracy.set_title("accuracy, %", loc="left", color=INK)
    if history.tests:
        at, shares = np.array(history.tests).T
        accuracy.plot(at, shares * 100, "o", color=TEST, label=f"test images, {shares[-1]:.2%} at the end")
    if history.right:
        accuracy.set_ylim(max(0.0, 100 * float(np.quantile(history.right, 0.03)) - 2), 100.3)
        accuracy.legend(loc="lower right", frameon=False)
        loss.legend(loc="upper right", frameon=False)


def smoothed(values: list[float], scale: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps, and the mean of the values around each."""
    width = min(SMOOTHED_OVER, max(1, len(values)))
    means = np.convolve(np.multiply(values, scale), np.ones(width) / width, "valid") if values else np.empty(0)
    return np.arange(len(means), dtype=np.float64) + 1 + (width - 1) / 2, means.astype(np.float64)


def tiles(figure: SubFigure, count: int, columns: int) -> list[Axes]:
    """Room for ``count`` images."""
    rows = max(1, -(-count // columns))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for each in axes:
        each.set_axis_off()
    return axes


def draw_filters(figure: SubFigure, filters: NDArray[np.float32]) -> None:
    """The filters, blue below 0 and red above, all on one scale."""
    shown = filters[:SHOWN_FILTERS]
    all_of_them = len(shown) == len(filters)
    figure.suptitle(
        f"first layer: {len(shown)} filters" if all_of_them else f"first layer: {len(shown)} of {len(filters)} units",
        x=0.02,
        ha="left",
        color=INK,
    )
    largest = float(np.abs(shown).max()) or 1.0
    for axes, image in zip(tiles(figure, len(shown), 4), shown):
        axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")


def draw_misread(figure: SubFigure, model: Model, test: Split) -> None:
    """Test digits that the model misreads, the ones it was surest of first."""
    data = owl.from_numpy(test.images.astype(np.float32) / 256)
    probabilities = model.predict(data).to_numpy()
    read = probabilities.argmax(1)
    wrong = np.flatnonzero(read != test.labels)
    order = wrong[np.argsort(-probabilities[wrong, read[wrong]], kind="stable")]
    figure.suptitle(
        f"misread test digits: {len(wrong)} of {len(test)}, written → read (how sure)", x=0.02, ha="left", color=INK
    )
    chosen = order[:SHOWN_DIGITS]
    for axes, number in zip(tiles(figure, SHOWN_DIGITS, 8), chosen):
        axes.imshow(test.images[number].reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=255)
        sure = probabilities[number, read[number]]
        axes.set_title(f"{test.labels[number]} → {read[number]}  {sure:.0%}", fontsize=9, color=INK, pad=2)
