"""Element-wise operations on arrays.

The functions are made from the table of operations in the runtime; adding a row there adds a function here.
"""

from owl import _runtime

globals().update(_runtime.elementwise_functions)
__all__ = sorted(_runtime.elementwise_functions)
