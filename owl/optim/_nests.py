"""Functions of arrays applied to nests of them."""

from collections.abc import Callable
from typing import Any

from owl import _runtime
from owl._runtime import NArray


def leaves_like(nest: Any, like: Any, what: str, name: str) -> list[NArray]:
    """The arrays of a nest that has the structure and shapes of another."""
    found, expected = _runtime.nest_leaves(nest, what, name), _runtime.nest_leaves(like, what, "params")
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
        _complain(nest, like, what, name)
    return found


def _complain(nest: Any, like: Any, what: str, name: str) -> None:
    paths, expected = _runtime.nest_paths(nest), _runtime.nest_paths(like)
    for path in expected:
        if path not in paths:
            raise _runtime.OwlTypeError(f"[{what}] {name}{path} is missing: {name} has the structure of params")
    for path in paths:
        if path not in expected:
            raise _runtime.OwlTypeError(f"[{what}] {name}{path} is one too many: {name} has the structure of params")
    shapes = {path: leaf.shape for path, leaf in zip(expected, _runtime.nest_leaves(like), strict=True)}
    for path, leaf in zip(paths, _runtime.nest_leaves(nest), strict=True):
        if leaf.shape != shapes[path]:
            raise _runtime.ShapeError(f"[{what}] {name}{path} has shape {leaf.shape}, params{path} {shapes[path]}")


def mapped(function: Callable[[NArray], Any], nest: Any, what: str, name: str) -> Any:
    """The nest with `function` of each array in its place."""
    return _runtime.nest_rebuilt(nest, [function(leaf) for leaf in _runtime.nest_leaves(nest, what, name)])


def zeros_like(x: NArray) -> NArray:
    """Zeros of an array's shape and dtype, on its device."""
    with x.device:
        return _runtime.zeros(x.shape, x.dtype)
