"""The kernels: their texts, and the cubins that NVRTC makes of them for an architecture.

Each .cu file is a cubin of its own: they are compiled side by side, a thread for each, and one that has changed leaves
the others as they are. A cubin is kept on disk (`owl._cuda.cache`) under a hash of all that it was made of.
"""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from owl._cuda import cache, nvml, nvrtc

_OWL = Path(__file__).resolve().parents[1]
_KERNELS = _OWL / "_cuda" / "kernels"
_INCLUDE = re.compile(r'^([ \t]*#[ \t]*include[ \t]*)"([^"]+)"', re.MULTILINE)
_PRELUDE = "_cuda/kernels/freestanding.h"
_EMPTY = ("stddef.h", "stdint.h")  # NVRTC has no headers; the prelude says what the kernels use of these
OPTIONS = (f"--pre-include={_PRELUDE}",)

#: The kernels in the order of catalogue.def, which is how the engine numbers them.
KERNELS: tuple[str, ...] = tuple(
    re.findall(r"^OWL_CUDA_KERNEL\((\w+),", (_KERNELS / "catalogue.def").read_text(), re.MULTILINE)
)


def programs() -> list[Path]:
    """The .cu files."""
    return sorted(_KERNELS.glob("*.cu"))


def sources(program: Path) -> dict[str, str]:
    """A program and every text of owl that it may include, by their places under owl/; the program is the first."""
    found: dict[str, str] = {}
    _add(program, found)
    _add(_OWL / _PRELUDE, found)
    return found | dict.fromkeys(_EMPTY, "")


def sources_of(name: str, text: str) -> dict[str, str]:
    """A program that is no file, and every text of owl that it may include; the program is the first."""
    found = {name: text}
    for included in dict.fromkeys(match[1] for match in _INCLUDE.findall(text)):
        _add(_OWL / included, found)
    _add(_OWL / _PRELUDE, found)
    return found | dict.fromkeys(_EMPTY, "")


def cubin_of(text: str, name: str, architecture: int) -> bytes:
    """The code of a program that is no file, for an architecture. It is kept, and raises, as `cubins` are."""
    return _cubin(nvrtc.compiler(nvml.major()), name, sources_of(f"{name}.cu", text), architecture)


def cubins(architecture: int) -> list[bytes]:
    """The code of every kernel for an architecture, a cubin for each .cu file.

    Parameters
    ----------
    architecture : int
        The compute capability without its point, such as 90.

    Raises
    ------
    owl.DeviceError
        If there is no NVRTC, or it does not know the architecture.

    Notes
    -----
    Takes seconds where nothing is kept on disk, with the GIL released. Any thread may call it.
    """
    compiler = nvrtc.compiler(nvml.major())
    found = programs()
    with ThreadPoolExecutor(min(len(found), os.cpu_count() or 1), "owl-nvrtc") as pool:
        return list(pool.map(lambda program: _cubin(compiler, program.stem, sources(program), architecture), found))


def _cubin(compiler: nvrtc.Compiler, name: str, texts: dict[str, str], architecture: int) -> bytes:
    parts = [
        *compiler.version,
        architecture,
        *nvrtc.OPTIONS,
        *OPTIONS,
        *(part for text in texts.items() for part in text),
    ]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:40]
    return cache.kept(f"{name}-sm_{architecture}-{key}.cubin", lambda: compiler.compile(texts, architecture, OPTIONS))


def _add(path: Path, found: dict[str, str]) -> None:
    """Adds a text and those that it includes, whose names become their places: NVRTC knows headers by name alone."""
    place = str(path.relative_to(_OWL))
    if place in found:
        return
    text = path.read_text()
    included = {name: _included(path, name) for _, name in _INCLUDE.findall(text)}
    found[place] = _INCLUDE.sub(lambda match: f'{match[1]}"{included[match[2]].relative_to(_OWL)}"', text)
    for target in included.values():
        _add(target, found)


def _included(path: Path, name: str) -> Path:
    beside = (path.parent / name).resolve()
    return beside if beside.exists() else _OWL / name
