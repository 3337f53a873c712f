"""Optimizers: pure functions from gradients, a state and parameters to new parameters and a new state.

>>> params = {"w": owl.ones([2])}
>>> opt = owl.optim.SGD(0.5)
>>> state = opt.init(params)
>>> params, state = opt.update({"w": owl.ones([2])}, state, params)
>>> params["w"].to_numpy()
array([0.5, 0.5], dtype=float32)
"""

from owl.optim._accumulation import Accumulated
from owl.optim._clipping import clip_by_norm, clip_by_value, global_norm
from owl.optim._optimizers import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from owl.optim._schedules import Schedule, constant, cosine, linear, step_decay, warmup

__all__ = [
    "SGD",
    "Accumulated",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "clip_by_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "global_norm",
    "linear",
    "step_decay",
    "warmup",
]
