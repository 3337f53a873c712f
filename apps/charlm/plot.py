"""A picture of the loss over the steps of a training."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from owl._files.whole import write_whole
from owl.apps.charlm.train import Training

SMOOTHED_OVER = 25  # steps
INK, LOSS, TEST = "#30343b", "#c2542d", "#1d3d57"


def draw(path: Path, training: Training) -> None:
    """Draws the loss of each step, its moving mean, and that on held-out text, in a PNG, PDF or SVG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    losses = np.array(training.losses)
    axes.plot(np.arange(1, len(losses) + 1), losses, color=LOSS, alpha=0.25, linewidth=0.8)
    if len(losses) >= SMOOTHED_OVER:
        mean = np.convolve(losses, np.full(SMOOTHED_OVER, 1 / SMOOTHED_OVER), "valid")
        steps = np.arange(SMOOTHED_OVER, len(losses) + 1)
        axes.plot(steps, mean, color=LOSS, label=f"training, mean of {SMOOTHED_OVER} steps")
    places, values = zip(*training.tests, strict=True)
    axes.plot(places, values, "o-", color=TEST, label="held-out text, after each epoch")
    axes.set_xlabel("step", color=INK)
    axes.set_ylabel("cross entropy per character", color=INK)
    axes.set_title("Character LSTM", color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:] or "png", dpi=150)
    write_whole(path, content.getvalue())
