"""Updates from the gradients of several batches."""

from typing import Any

from owl import _runtime
from owl._runtime import OwlValueError
from owl.optim._nests import leaves_like, mapped, zeros_like
from owl.optim._optimizers import Optimizer


class Accumulated:
    """An optimizer that is given the mean of every `count` gradients.

    Its `init` and `update` are an optimizer's. Between updates of the parameters `update` returns them as they are.
    The state is a dict: the optimizer's state, the sum of the gradients since its last update, and how many they are.

    Examples
    --------
    >>> opt = owl.optim.Accumulated(owl.optim.SGD(1.0), 2)
    >>> w = owl.zeros([1])
    >>> state = opt.init(w)
    >>> w, state = opt.update(owl.full([1], 1.0), state, w)
    >>> w, state = opt.update(owl.full([1], 3.0), state, w)
    >>> w.to_numpy()
    array([-2.], dtype=float32)
    """

    def __init__(self, optimizer: Optimizer, count: int) -> None:
        if count < 1:
            raise OwlValueError(f"[Accumulated] the gradients are at least 1, not {count}")
        self.optimizer = optimizer
        self.count = count

    def init(self, params: Any) -> dict[str, Any]:
        """The state before the first gradient."""
        total = mapped(zeros_like, params, "Accumulated.init", "params")
        return {"optimizer": self.optimizer.init(params), "sum": total, "count": 0}

    def update(self, grads: Any, state: dict[str, Any], params: Any) -> tuple[Any, dict[str, Any]]:
        """Parameters and the state after one more gradient. See `Optimizer.update`."""
        what = "Accumulated.update"
        given = leaves_like(grads, params, what, "grads")
        total = [a + b for a, b in zip(leaves_like(state["sum"], params, what, "state['sum']"), given, strict=True)]
        if state["count"] + 1 < self.count:
            nest = _runtime.nest_rebuilt(params, total)
            return params, {"optimizer": state["optimizer"], "sum": nest, "count": state["count"] + 1}
        mean = _runtime.nest_rebuilt(params, [x * (1 / self.count) for x in total])
        params, inner = self.optimizer.update(mean, state["optimizer"], params)
        return params, {"optimizer": inner, "sum": mapped(zeros_like, params, what, "params"), "count": 0}
