"""Derivatives of element-wise operations: from the texts of operations.def to functions that record."""

import ast
from collections.abc import Callable
from typing import Any

import numpy as np

from owl import _runtime

NAMES = ["x", "y", "z", "r", "g"]  # three operands, the result, the cotangent
BITS = {"x": 1 << 0, "y": 1 << 1, "z": 1 << 2, "r": 1 << 7}
OPERATORS = {ast.Mult: "times", ast.Div: "over"}
# Functions that a text may apply to numbers alone: an operand may be one.
OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "ln": np.log,
    "maximum": np.maximum,
    "pow": np.power,
    "where": np.where,
}


class Recorded(ast.NodeTransformer):
    """Products and quotients of elements as calls; all other operators of arrays mean what the text says."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """``a * b`` is ``times(a, b)``, and ``a / b`` is ``over(a, b)``."""
        self.generic_visit(node)
        name = OPERATORS.get(type(node.op))
        if name is None:
            return node
        return ast.Call(ast.Name(name, ast.Load()), [node.left, node.right], [])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """``-a`` is ``negative(a)``."""
        self.generic_visit(node)
        return ast.Call(ast.Name("negative", ast.Load()), [node.operand], [])


def compiled(text: str, operation: str) -> tuple[Callable[..., Any] | None, int]:
    """A derivative as a function of operands, result and cotangent, and what it reads; None where there is none."""
    if not text:
        return None, 0
    tree = Recorded().visit(ast.parse(text, f"<derivative of {operation}>", "eval"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    arguments = ast.arguments([], [ast.arg(name) for name in NAMES], None, [], [], None, [])
    code = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, tree.body)))
    functions = {**_runtime.elementwise_functions, **_runtime.derivative_functions()}
    functions |= {name: of_both(functions[name], OF_NUMBERS[name]) for name in OF_NUMBERS}
    function = eval(compile(code, f"<derivative of {operation}>", "eval"), functions)
    return function, sum(bit for name, bit in BITS.items() if name in names)


def of_both(of_arrays: Callable[..., Any], of_numbers: Callable[..., Any]) -> Callable[..., Any]:
    """A function of owl's arrays that gives a float where all operands are numbers."""

    def function(*operands: Any) -> Any:
        if any(type(operand) is _runtime.NArray for operand in operands):
            return of_arrays(*operands)
        with np.errstate(all="ignore"):
            return float(of_numbers(*operands))

    return function
