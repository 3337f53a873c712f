"""Rooms: every include and import points down, and none of them runs in a circle (docs/design.md, Rooms)."""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWL = ROOT / "owl"

# The rooms of C++ and of their .pxd files, the lowest first: each may use those before it.
ENGINE = ["memory", "graph", "record", "plan", "run", "window"]
# A backend knows what a plan and a run are made of, and nothing of streams and windows.
BACKEND = ["memory", "graph", "plan", "run"]
# Kernels know the words for operations alone.
KERNELS = {"_engine/graph/words.h", "_engine/graph/convolution.h", "_engine/graph/operations.def"}
# What computes one number at a time has the mathematics of the CPU's vectors.
ARITHMETIC = {
    *("_cpu/kernels/arithmetic.h", "_cpu/kernels/scalars.h"),
    *("_cpu/kernels/random/distributions.h", "_cpu/kernels/random/philox.h", "_cpu/kernels/reduce/grouped_sum.h"),
}


def sources(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes)


def includes(path: Path) -> list[Path]:
    """The files of owl that a file includes: beside it, or below owl/."""
    found = re.findall(r'^\s*#include "([^"]+)"', path.read_text(), re.MULTILINE)
    return [path.parent / name if (path.parent / name).exists() else OWL / name for name in found]


def room(path: Path) -> str:
    """The room of a source: memory … window, _cpu, _cpu/kernels, _cuda, _cuda/kernels, or _null."""
    parts = path.relative_to(OWL).parts
    if parts[0] == "_engine":
        return parts[1].removesuffix(".pxd")
    return f"{parts[0]}/kernels" if parts[1] == "kernels" else parts[0]


def allowed(path: Path) -> list[str]:
    """The rooms that a file may use."""
    here = room(path)
    if here.endswith("/kernels"):
        return [here]
    if here in ("_cpu", "_cuda"):
        return [*BACKEND, here, f"{here}/kernels"]
    if here == "_null":  # computes with the CPU's kernels: the one arrow between backends
        return [*BACKEND, here, "_cpu"]
    return ENGINE[: ENGINE.index(here) + 1]


def circle(arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """A circle of arrows, [] if there is none."""
    done: set[str] = set()

    def walk(place: str, path: list[str]) -> list[str]:
        if place in path:
            return [*path[path.index(place) :], place]
        if place in done:
            return []
        for target in arrows.get(place, ()):
            if found := walk(target, [*path, place]):
                return found
        done.add(place)
        return []

    for place in arrows:
        if found := walk(place, []):
            return found
    return []


NATIVE = [
    *sources(OWL / "_engine", ".h", ".cpp"),
    *sources(OWL / "_cpu", ".h", ".cpp"),
    *sources(OWL / "_cuda", ".h", ".cpp", ".cu", ".cuh"),
]


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: str(path.relative_to(OWL)))
def test_includes_point_down(path):
    for target in includes(path):
        assert target.exists(), target
        name = str(target.relative_to(OWL))
        if (room(path).endswith("/kernels") and name in KERNELS) or (
            room(path) == "_cuda/kernels" and name in ARITHMETIC
        ):
            continue
        assert room(target) in allowed(path), f"{path.relative_to(OWL)} may not include {name}"


def test_rooms_are_those_of_the_order():
    assert {path.name for path in (OWL / "_engine").iterdir() if path.is_dir() and path.name[0] != "_"} == set(ENGINE)


def test_includes_do_not_run_in_a_circle():
    arrows = {str(path.resolve()): [str(target.resolve()) for target in includes(path)] for path in NATIVE}
    assert circle(arrows) == []


def test_every_source_has_a_header():
    # What these define is declared by the header of the seam that they fill: backend.h and lowering.h.
    filled = {
        *("_cpu/executor.cpp", "_cpu/lowering_conv.cpp", "_cuda/executor.cpp"),
        *(
            "_cuda/lowering_blas.cpp",
            "_cuda/lowering_conv.cpp",
            "_cuda/lowering_lines.cpp",
            "_cuda/lowering_pool.cpp",
            "_cuda/lowering_product.cpp",
            "_cuda/lowering_reduction.cpp",
        ),
        "_engine/plan/compile.cpp",
    }
    found = {
        str(path.relative_to(OWL))
        for path in NATIVE
        if path.suffix == ".cpp" and room(path) != "_cpu/kernels" and not path.with_suffix(".h").exists()
    }
    assert found == filled


@pytest.mark.parametrize("path", sources(OWL / "_engine", ".pxd"), ids=lambda path: path.name)
def test_declarations_for_cython_point_down(path):
    for name in re.findall(r"^from owl\._engine\.(\w+) cimport", path.read_text(), re.MULTILINE):
        assert ENGINE.index(name) < ENGINE.index(path.stem), f"{path.name} may not cimport {name}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sources(OWL, ".py") if "apps" not in path.relative_to(OWL).parts}


def imports(path: Path) -> set[str]:
    """The modules of owl that a module needs to be imported; those inside functions come later."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            parts = {f"{module}.{alias.name}" for alias in node.names} & MODULES.keys()
            # A part of a package is imported without the names that the package makes.
            found |= parts if len(parts) == len(node.names) else {module, *parts}
    return {name for name in found if name.split(".")[0] == "owl"}


def test_python_modules_do_not_import_in_a_circle():
    # A package is imported before its parts, which is no circle; owl/__init__ is what everything may name.
    arrows = {
        name: [target for target in imports(path) & MODULES.keys() if target not in ("owl", name)]
        for name, path in MODULES.items()
        if name != "owl"
    }
    assert circle(arrows) == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_runtime_does_not_import_what_stands_on_it(name):
    above = {"owl.apps"} if name.startswith("owl.testing") else {"owl.apps", "owl.testing"}
    for target in imports(MODULES[name]):
        assert not any(target == place or target.startswith(place + ".") for place in above), target
