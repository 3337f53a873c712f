"""The examples in docstrings: of public functions, of methods, and of builtins, which doctest itself overlooks."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import pytest

import owl
import owl.conv
import owl.cuda
import owl.elewise
import owl.testing

MODULES = [owl, owl.elewise, owl.conv, owl.cuda, owl.testing]


def documented(module: ModuleType) -> dict[str, str]:
    """Docstrings by name: of the module, of its public names, and of the public members of its classes."""
    found = {module.__name__: module.__doc__ or ""}
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            continue
        found[f"{module.__name__}.{name}"] = inspect.getdoc(value) or ""
        if inspect.isclass(value):
            for member, inner in vars(value).items():
                if not member.startswith("_") and inspect.getdoc(inner):
                    found[f"{module.__name__}.{name}.{member}"] = inspect.getdoc(inner)
    return found


DOCSTRINGS = {name: text for module in MODULES for name, text in documented(module).items()}
EXAMPLES = {name: text for name, text in DOCSTRINGS.items() if ">>>" in text}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_in_docstrings(name, request):
    if name == "owl.explain" and request.config.getoption("--device") != "cpu":
        pytest.skip("it shows a CPU's name")
    names = {"owl": owl, "np": np}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, 0)
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL).run(test, out=told.append)
    test.globs.clear()
    assert not told, "".join(told)


def test_every_function_of_elewise_has_an_example():
    assert all(f"owl.elewise.{name}" in EXAMPLES for name in owl.elewise.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_everything_public_is_documented(module):
    plain = (str, Mapping)  # a version, a table
    missing = [
        name
        for name, text in documented(module).items()
        if not text and not isinstance(getattr(module, name.rpartition(".")[2], None), plain)
    ]
    assert not missing


def test_public_names_exist_once():
    for module in MODULES:
        assert len(set(module.__all__)) == len(module.__all__)
        for name in module.__all__:
            assert hasattr(module, name)
