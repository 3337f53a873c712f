"""The character model: what its programs print, and that the loss falls."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from owl.apps.charlm.text import Alphabet, Corpus, TextError, pieces, steps

MAIN = ("-m", "owl.apps.charlm")
SMALL = ("--hidden", 24, "--batch-size", 8, "--length", 12)


@pytest.fixture
def rhyme(tmp_path: Path) -> Path:
    """A text that says the same again and again."""
    path = tmp_path / "rhyme.txt"
    path.write_text("one for sorrow, two for joy, three for a girl, four for a boy.\n" * 80, encoding="utf-8")
    return path


def held_out(output: str) -> list[float]:
    return [float(number) for number in re.findall(r"on held-out text (\d+\.\d+)", output)]


@pytest.mark.parametrize("device", ["cpu", "gpu:0"])
def test_it_learns_a_rhyme_and_writes(
    run: Callable[..., subprocess.CompletedProcess[str]], rhyme: Path, device: str
) -> None:
    epochs = 8 if device == "cpu" else 2
    options = ("--text", rhyme, "--epochs", epochs, "--lr", 0.02, "--sample", 40, "--device", device)
    result = run(*MAIN, *SMALL, *options, OWL_GPU_FALLBACK="cpu")
    assert result.returncode == 0, result.stderr
    losses = held_out(result.stdout)
    assert len(losses) == epochs
    if device == "cpu":
        assert losses[-1] < 0.5 < losses[0]
        written = result.stdout.rpartition("characters/s\n")[2].rstrip("\n")
        assert 30 < len(written) <= 41
        assert set(written) <= set(rhyme.read_text(encoding="utf-8"))


@pytest.mark.standin
def test_a_gpu_gives_the_bits_of_the_cpu(run: Callable[..., subprocess.CompletedProcess[str]], rhyme: Path) -> None:
    rhyme.write_text(rhyme.read_text(encoding="utf-8")[:400], encoding="utf-8")
    sizes = ("--hidden", 6, "--batch-size", 4, "--length", 6)
    options = (*MAIN, *sizes, "--text", rhyme, "--epochs", 1, "--sample", 20)
    outputs = [
        run(*options, "--device", device, OWL_CUDA_DRIVER="standin", OWL_CUDA_JIT="0").stdout
        for device in ("cpu", "gpu:0")
    ]
    cpu, gpu = (re.sub(r", [\d,]+ characters/s", "", output) for output in outputs)
    assert held_out(cpu)
    assert cpu == gpu


def test_a_picture_is_drawn(run: Callable[..., subprocess.CompletedProcess[str]], rhyme: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "loss.png"
    result = run(*MAIN, *SMALL, "--text", rhyme, "--epochs", 1, "--sample", 0, "--plot", path)
    assert result.returncode == 0, result.stderr
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "not UTF-8"),
        (b"short", "is too short"),
        (b"long " * 60, "too short for 100 places"),
    ],
)
def test_a_text_that_cannot_be_read_is_one_line(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, text: bytes | None, reason: str
) -> None:
    path = tmp_path / "text.txt"
    if text is not None:
        path.write_bytes(text)
    result = run(*MAIN, *SMALL, "--length", 2, "--batch-size", 100, "--text", path)
    assert result.returncode == 2
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_picture_that_cannot_be_written_is_one_line(
    run: Callable[..., subprocess.CompletedProcess[str]], rhyme: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    result = run(*MAIN, *SMALL, "--text", rhyme, "--plot", tmp_path)
    assert result.returncode == 2
    assert result.stderr == f"python -m owl.apps.charlm: error: {tmp_path}: is a folder\n"
    assert result.stdout == ""


def test_pieces_follow_one_another() -> None:
    numbers = np.arange(35)
    found = list(pieces(numbers, 3, 5))
    assert len(found) == steps(numbers, 3, 5) == 2
    np.testing.assert_array_equal(found[0].T, [[0, 1, 2, 3, 4, 5], [11, 12, 13, 14, 15, 16], [22, 23, 24, 25, 26, 27]])
    np.testing.assert_array_equal(found[1][0], found[0][-1])


def test_characters_and_numbers() -> None:
    corpus = Corpus.of("abcabc" * 20, 3)
    assert corpus.alphabet == Alphabet("abc")
    assert (len(corpus.train), len(corpus.test)) == (114, 6)
    assert corpus.alphabet.one_hot(np.array([[2], [0]])).tolist() == [[[0, 0, 1]], [[1, 0, 0]]]
    with pytest.raises(TextError, match="never seen the character 'x'"):
        corpus.alphabet.encode("abx")
