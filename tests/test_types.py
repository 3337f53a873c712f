"""The type stubs say what the extension has: its names, their parameters, and the operations of the table."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import owl
from owl import _runtime, elewise

ROOT = Path(owl.__file__).parent
RUNTIME = ast.parse((ROOT / "_runtime.pyi").read_text())
ELEWISE = ast.parse((ROOT / "elewise.pyi").read_text())
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Functions, classes and annotated variables of a stub by name, private ones left out."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return {name: node for name, node in found.items() if not re.match(r"_[A-Za-z]", name)}


def is_documented(value: object) -> bool:
    """Whether a docstring says more than the signature, which Cython writes by itself."""
    return re.fullmatch(r"(\w+\(.*\))?", (value.__doc__ or "").strip()) is None


def exported() -> dict[str, object]:
    """What the extension offers: its documented functions and classes, and the table of element-wise functions."""
    return {
        name: value
        for name, value in vars(_runtime).items()
        if not name.startswith("_")
        and (getattr(value, "__module__", "").startswith("owl") or name == "elementwise_functions")
        and (isinstance(value, dict) or is_documented(value))
    }


def parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]


def test_stub_lists_exactly_what_the_extension_exports():
    assert sorted(declared(RUNTIME.body)) == sorted(exported())


@pytest.mark.parametrize("name", [name for name, node in declared(RUNTIME.body).items() if isinstance(node, FUNCTIONS)])
def test_parameters_of_functions_agree(name):
    signature = inspect.signature(getattr(_runtime, name))
    node = declared(RUNTIME.body)[name]
    assert parameters(node) == list(signature.parameters)
    required = sum(parameter.default is parameter.empty for parameter in signature.parameters.values())
    assert len(node.args.args) - len(node.args.defaults) == required


@pytest.mark.parametrize(
    "name", ["NArray", "Evaluation", "Promise", "Device", "ConvInfo", "Convolver", "PoolingInfo", "Pooler", "Lrner"]
)
def test_members_of_classes_agree(name):
    inherited = set(dir(int if name == "Device" else object))
    members = declared(declared(RUNTIME.body)[name].body)
    has = set(vars(getattr(_runtime, name)))
    assert set(members) <= has | inherited
    public = {member for member in has if not member.startswith("_")}
    assert public <= set(members)
    operators = {
        member
        for member in has
        if re.fullmatch(r"__(r|i)?(add|sub|mul|truediv|pow|neg|abs|await)__|__i?matmul__", member)
    }
    assert operators <= set(members)


def test_methods_of_arrays_take_what_the_stub_says():
    for name, node in declared(declared(RUNTIME.body)["NArray"].body).items():
        if name.startswith("__") or node.decorator_list:
            continue
        assert parameters(node) == list(inspect.signature(getattr(owl.NArray, name)).parameters), name


def test_errors_derive_from_what_the_stub_says():
    for name, node in declared(RUNTIME.body).items():
        if isinstance(node, ast.ClassDef) and name.endswith("Error"):
            bases = [base.__name__ for base in getattr(_runtime, name).__bases__]
            assert [base.id for base in node.bases] == bases


def test_elementwise_stub_is_the_table_of_operations():
    assert sorted(declared(ELEWISE.body)) == sorted(elewise.__all__) == sorted(_runtime.elementwise_functions)
    for node in ELEWISE.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            text = _runtime.elementwise_functions[node.name].__doc__
            described = re.findall(r"^(\w+) : ", text.partition("Returns")[0], re.MULTILINE)
            assert parameters(node) == described, node.name


def test_package_says_that_it_is_typed():
    assert (ROOT / "py.typed").exists()
