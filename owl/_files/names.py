"""Names of the arrays of a nest in a file, ``layers.0.w``, and the nest of dicts and lists that names stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from owl._runtime import NArray, OwlTypeError, OwlValueError

_RESERVED = "__metadata__"  # safetensors keeps the metadata under this name


def names_of(nest: Any) -> dict[str, NArray]:
    """The arrays of a nest by name, in the order of its containers.

    Raises an error that names the path of a key or a value that a file cannot hold.
    """
    if _children(nest, "nest") is None:
        raise OwlTypeError(
            f"[save] nest is a dict, list, tuple, NamedTuple or dataclass of arrays, not {type(nest).__name__}"
        )
    found: dict[str, NArray] = {}
    _collect(nest, "", "nest", found, set())
    if _RESERVED in found:
        raise OwlValueError(f"[save] nest[{_RESERVED!r}]: safetensors keeps the metadata under this name")
    return found


def _collect(nest: Any, prefix: str, path: str, found: dict[str, NArray], above: set[int]) -> None:
    children = _children(nest, path)
    if children is None:
        raise OwlTypeError(f"[save] {path} is {_described(nest)}")
    if id(nest) in above:
        raise OwlValueError(f"[save] {path} contains itself")
    above.add(id(nest))
    empty = True
    for name, step, child in children:
        empty = False
        if type(child) is NArray:
            found[prefix + name] = child
        else:
            _collect(child, f"{prefix}{name}.", path + step, found, above)
    if empty:
        raise OwlValueError(f"[save] {path} is empty: a file has no place for a container without arrays")
    above.remove(id(nest))


def _children(nest: Any, path: str) -> Iterator[tuple[str, str, Any]] | None:
    """Name, step of the path, and child, for each child of a container; None for anything else."""
    if isinstance(nest, dict):
        return ((_checked_key(key, path), f"[{key!r}]", child) for key, child in nest.items())
    fields = getattr(nest, "_fields", None) if isinstance(nest, tuple) else None
    fields = fields or getattr(type(nest), "__dataclass_fields__", None)
    if fields is not None:
        return ((name, f".{name}", getattr(nest, name)) for name in fields)
    if isinstance(nest, (list, tuple)):
        return ((str(k), f"[{k}]", child) for k, child in enumerate(nest))
    return None


def _checked_key(key: Any, path: str) -> str:
    """A key of a dict that may be part of a name."""
    if not isinstance(key, str):
        raise OwlTypeError(f"[save] {path}[{key!r}]: keys are strings in a file, not {type(key).__name__}")
    if "." in key:
        raise OwlValueError(f"[save] {path}[{key!r}]: a dot separates the keys in a file, so that none may have one")
    if not is_text(key):
        raise OwlValueError(f"[save] {path}[{key!r}]: the key is no text that UTF-8 can encode")
    return str.__str__(key)  # of an enumeration's member, its text


def is_text(value: str) -> bool:
    """Whether UTF-8 can encode a string: it has no half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _described(value: Any) -> str:
    kind = type(value).__name__
    if value is None or isinstance(value, (bool, int, str, bytes)) or callable(value):
        return f"{kind}, and a file holds arrays alone: strings are kept as metadata, save(path, nest, name=text)"
    return f"{kind}, not an owl array: owl.from_numpy makes an array of numbers"


def nest_of(arrays: Mapping[str, Any]) -> Any:
    """The nest of dicts and lists whose leaves have these names; ValueError if one name is another's container.

    Keys are in alphabetical order; a dict whose keys are 0 … n-1 is a list. Names come from a file, and may be deep.
    """
    root: dict[str, Any] = {}
    places: list[tuple[dict[str, Any], str, dict[str, Any]]] = []  # the container, the key, the dict there
    leaves: set[tuple[int, str]] = set()
    for name in sorted(arrays):  # an array before what would stand below it
        *steps, last = name.split(".")
        at = root
        for step in steps:
            if (id(at), step) in leaves:
                raise ValueError(_clash(name, arrays))
            below = at.get(step)
            if below is None:
                below = at[step] = {}
                places.append((at, step, below))
            at = below
        at[last] = arrays[name]
        leaves.add((id(at), last))
    for container, key, below in reversed(places):
        container[key] = _listed(below)
    return _listed(root)


def _clash(name: str, arrays: Mapping[str, Any]) -> str:
    other = next(other for other in arrays if name.startswith(other + "."))
    return f"{other} is an array, so that {name} cannot be one of a container of that name"


def _listed(nest: dict[str, Any]) -> Any:
    if not nest or nest.keys() != {str(k) for k in range(len(nest))}:
        return dict(sorted(nest.items()))
    return [nest[str(k)] for k in range(len(nest))]
