"""What the planner made of a program: plans as text and drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from owl import _runtime

if TYPE_CHECKING:
    from owl._explain.plan import Window

_NOTHING = "nothing has been handed over yet: owl computes when a loop comes round, or when somebody asks for a value"
_LEAF = "this array's value was given to it, not computed"
_FORGOTTEN = "the plan that computed this array is no longer remembered: the last 64 are"


def explain(array: Any = None, format: str = "text", last: int = 8) -> str:
    """What was fused, dropped, donated and left over, why the rest was not fused, and why windows were handed over.

    Parameters
    ----------
    array : NArray, optional
        Whose plan to tell of: the one that computed it or, if it is still recorded, the one that would compute it now.
        Without it, the plans of the last windows, in the order in which they were handed over.
    format : {"text", "dot", "svg"}
        Words, a graph for Graphviz, or a drawing.
    last : int
        So many windows at most, the newest. Windows of up to 64 plans are remembered.

    Returns
    -------
    str
        Operations are named as in the program, with the line that recorded them. `v0`, `v1` … are values of a plan,
        `x0`, `x1` … its inputs. The text has a line for each reason why a kernel is not one with those that it reads.

    Raises
    ------
    TypeError
        If `array` is not an NArray.
    ValueError
        If there is no such format, or `last` is less than 1.

    Notes
    -----
    Evaluates nothing and does not block; any thread may call it.

    Examples
    --------
    >>> w, x = owl.ones([2, 3]), owl.ones([3, 4])
    >>> y = owl.elewise.relu(w * x + 1)
    >>> print(owl.explain(y))  # doctest: +ELLIPSIS
    window: still recorded; a demand would hand it over now
      plan on cpu:...: 5 operations in ... kernels...
    >>> y.state
    'recorded'
    """
    from owl._explain import drawing, graphviz, text

    renderers = {"text": text.render, "dot": graphviz.render, "svg": drawing.render}
    if format not in renderers:
        raise _runtime.OwlValueError(f"[explain] the format is one of {', '.join(renderers)}, not {format!r}")
    if last < 1:
        raise _runtime.OwlValueError(f"[explain] at least one window is wanted, not {last}")
    windows, remark = _windows(array)
    return renderers[format](windows[-last:], remark)


def _windows(array: Any) -> tuple[list[Window], str]:
    from owl._explain.plan import windows

    if array is None:
        found = windows(_runtime.explain_recent())
        return found, "" if found else _NOTHING
    state = _runtime.explain_array(array)
    found = windows(state["plans"])
    if state["leaf"]:
        return found, _LEAF
    return found, "" if found else _FORGOTTEN
