"""Functions of owl.elewise look like functions to people and tools: signature, docstring, module."""

import inspect
import pydoc

import pytest

from owl import _runtime, elewise
from owl._api import activations
from owl._api import elewise as written

WRITTEN = {**vars(written), **vars(activations)}
OPERATIONS = {name for name, _, _ in _runtime.elementwise_table()}


@pytest.mark.parametrize("name", elewise.__all__)
def test_signature_and_docstring_are_those_that_are_written(name):
    function = getattr(elewise, name)
    assert str(inspect.signature(function)) == str(inspect.signature(WRITTEN[name]))
    assert inspect.getdoc(function) == inspect.getdoc(WRITTEN[name])
    assert function.__module__ == "owl.elewise"


def test_help_shows_signature_and_text():
    text = pydoc.plain(pydoc.render_doc(elewise.clip))
    assert "clip(x, low, high, /)" in text
    assert "Numbers limited to an interval" in text
    assert "top=None" in pydoc.plain(pydoc.render_doc(elewise.sigm_back))


def test_every_function_is_an_operation():
    assert {written.OPERATIONS.get(name, name) for name in elewise.__all__} <= OPERATIONS
