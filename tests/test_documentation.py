"""What docs/ says is true: examples run, links lead somewhere, names exist, plans and variables are the code's."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import owl

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".cpp", ".def"}
# Pieces of programs, which need more around them than a page has room for.
FRAGMENTS = {"aio.md", "devices.md", "pipeline.md"}  # tests of their own run what can run there


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(code: str, environment: dict[str, str] | None = None) -> str:
    """What a program prints that is run by itself, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-"],
        input=code,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "name", [path.name for path in DOCS if path.name not in FRAGMENTS and blocks(path.read_text(), "python")]
)
def test_examples_of_a_page_run_one_after_the_other(name):
    run("\n".join(blocks(page(name), "python")))


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_fragments_are_python(name):
    for block in blocks(page(name), "python"):
        ast.parse(block)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, heading = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings], target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lines_and_tables_are_whole(path):
    for line in path.read_text().splitlines():
        assert line == line.rstrip()
    for table in re.findall(r"(?:^\|.*\n)+", path.read_text(), re.MULTILINE):
        widths = {len(re.sub(r"`[^`]*`", "", row).split("|")) for row in table.splitlines()}
        assert len(widths) == 1, table


def test_every_word_of_the_vocabulary_is_a_name_where_the_page_says():
    rows = re.findall(r"^\| ([\w ,]+) \| .* \| (`.*`) \| (\[.*) \|$", page("design.md"), re.MULTILINE)
    assert len(rows) > 20
    for word, names, places in rows:
        files = [(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\((.*?)\)", places)]
        for name in re.findall(r"`(\w+)`", names):
            assert any(re.search(rf"\b{name}\b", file.read_text()) for file in files), (word, name)


def kernels(text: str) -> list[tuple[str, list[str]]]:
    """Each kernel's name and its operations, as `owl.explain` prints them."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if kernel := re.match(r" *kernel \d+: (\w+)", line):
            found.append((kernel[1], []))
        elif found and (operation := re.match(r" *v\d+ = (\w+\([^)]*\) \[[\d, ]*\])", line)):
            found[-1][1].append(operation[1])
    return found


def test_perceptrons_plan_is_what_the_page_shows():
    text = page("design.md")
    [code] = blocks(text, "python")
    shown = re.search(r"<!-- plan -->\n```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    # As where the executor is always busy: every window waits until it has settled.
    busy = "import owl\nowl._runtime.set_early_start(False)\n"
    told = run(busy + code, {"OWL_FUSE": "1", "OWL_WINDOW": ""})
    bare = re.sub(r" at \S+:\d+", "", told)
    assert kernels(bare) == kernels(shown)
    for line in shown.splitlines():
        assert line.strip() in bare, line
    count = re.search(r"^(\d+) operations are (\d+) kernels", text, re.MULTILINE)
    assert int(count[2]) == len(kernels(shown))
    assert f"{count[1]} operations in {count[2]} kernels" in shown
    drawing = "".join(ElementTree.parse(ROOT / "docs" / "perceptron-plan.svg").getroot().itertext())
    for _, operations in kernels(shown):
        assert all(operation in drawing for operation in operations)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.svg")), ids=lambda path: path.name)
def test_drawings_are_wellformed_and_used(path):
    root = ElementTree.parse(path).getroot()
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert any(path.name in document.read_text() for document in PAGES)


def read_by_the_code() -> set[str]:
    """The environment variables of owl's own that any source reads."""
    files = [
        *(path for folder in ("owl", "apps", "tests") for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES),
        ROOT / "setup.py",
    ]
    ways = r"environ(?:\.get\(|\.setdefault\(|\[)|getenv\(|setting\(|standin_number\(|_VARIABLE = "
    pattern = rf"""(?:{ways})\s*["'](OWL_\w+)["']"""
    return {name for path in files for name in re.findall(pattern, path.read_text())}


def test_environment_lists_exactly_what_the_code_reads():
    listed = set(re.findall(r"^\| `(OWL_\w+)`", page("environment.md"), re.MULTILINE))
    assert listed == read_by_the_code()


def test_classic_api_names_everything_public():
    text = page("classic-api.md")
    newer = {"NArray", "Device", "conv", "elewise", "show_config", "get_num_threads", "set_num_threads"}
    for name in owl.__all__:
        if not name.startswith("_") and name not in newer and not name.endswith("Error"):
            assert re.search(rf"\b{name}\b", text), name
    for name in [*owl.elewise.__all__, *owl.conv.__all__]:
        if not name.endswith("Info"):
            assert re.search(rf"\b{name}\b", text), name


def test_guide_shows_the_form_of_a_row():
    [form] = blocks(page("adding-an-operation.md"), "c")
    table = (ROOT / "owl" / "_engine" / "graph" / "operations.def").read_text()
    assert form.strip() in re.sub(r"^//\s*", "", table, flags=re.MULTILINE)
    assert "softsign" not in table


GUIDE = {"softsign": 6, "diagonal": 10}  # operations that the guide adds, and the places that each touches


def guides_diff(name: str) -> str:
    [diff] = re.findall(
        rf"<!-- {name} -->\n```diff\n(.*?)^```$", page("adding-an-operation.md"), re.MULTILINE | re.DOTALL
    )
    return diff


@pytest.mark.parametrize("name", GUIDE)
def test_guide_names_every_place_that_an_operation_touches(name):
    touched = re.findall(r"^\+\+\+ b/(.*)$", guides_diff(name), re.MULTILINE)
    before = page("adding-an-operation.md").partition(f"<!-- {name} -->")[0]
    places = re.findall(r"^\| place \| what \|\n(.*?)\n\n", before, re.MULTILINE | re.DOTALL)[-1]
    named = [str((ROOT / "docs" / target).resolve().relative_to(ROOT)) for target in re.findall(r"\]\((.*?)\)", places)]
    assert sorted(touched) == sorted(named)
    assert len(named) == GUIDE[name]


@pytest.mark.parametrize("name", GUIDE)
def test_the_guides_diffs_fit_the_code(name):
    done = subprocess.run(
        ["git", "apply", "--check", "-"], input=guides_diff(name), capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
