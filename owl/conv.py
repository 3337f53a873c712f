"""Operations of convolution nets."""

import enum

from owl._runtime import softmax

__all__ = ["soft_op", "softmax"]


class soft_op(enum.IntEnum):  # noqa: N801 - named as classic scripts write it
    """What softmax normalises over.

    >>> int(owl.conv.soft_op.channel)
    1
    """

    instance = 0
    """All dimensions but the last."""
    channel = 1
    """The last dimension but one, at each place of each instance."""
