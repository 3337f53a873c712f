"""Operations of convolution nets: convolution, pooling, local response normalization, softmax, cross entropy.

Data is ``[width, height, channels, batch]``. Each class records its operations, forward (``ff``) and backward (``bp``),
and returns at once; wrong shapes raise `owl.ShapeError` at the line that wrote them.
"""

import enum

from owl._runtime import (
    ConvInfo,
    Convolver,
    Lrner,
    Pooler,
    PoolingInfo,
    cross_entropy,
    cross_entropy_back,
    log_softmax,
    softmax,
)

__all__ = [
    "ConvInfo",
    "Convolver",
    "Lrner",
    "Pooler",
    "PoolingInfo",
    "cross_entropy",
    "cross_entropy_back",
    "log_softmax",
    "pool_op",
    "soft_op",
    "softmax",
]


class pool_op(enum.IntEnum):  # noqa: N801 - named as classic scripts write it
    """What pooling makes of a window.

    >>> owl.conv.pool_op.average is owl.conv.pool_op.avg
    True
    """

    max = 1
    """Its greatest number."""
    avg = 2
    """Its mean; what lies beyond the border counts as zeros."""
    average = 2


class soft_op(enum.IntEnum):  # noqa: N801 - named as classic scripts write it
    """What softmax normalises over.

    >>> int(owl.conv.soft_op.channel)
    1
    """

    instance = 0
    """All dimensions but the last."""
    channel = 1
    """The last dimension but one, at each place of each instance."""
