"""The functions of owl.elewise: their names, parameters and documentation. What they do is a row of operations.def.
Activations, and the gradients through them, are in activations.py.

The extension makes a builtin of each when it is imported; a Python function would cost as much as recording itself.
"""

# Functions whose operation has another name.
OPERATIONS = {"mult": "mul"}


def abs(x, /):
    """Absolute value, element by element.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.

    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The derivative at 0 is 0.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.abs(owl.from_numpy(np.array([-1, 0, 2], np.float32))).to_numpy()
    array([1., 0., 2.], dtype=float32)
    """


def clip(x, low, high, /):
    """Numbers limited to an interval, element by element.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.
    low : number or NArray
        The smallest result.
    high : number or NArray
        The largest result; it wins where it is below `low`.

    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Raises
    ------
    ValueError
        If shapes differ and neither can be repeated along a dimension of 1.

    Notes
    -----
    NaN stays NaN.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.clip(owl.from_numpy(np.array([-3, 0.5, 2], np.float32)), -1.0, 1.0).to_numpy()
    array([-1. ,  0.5,  1. ], dtype=float32)
    """


def erf(x, /):
    """Error function, element by element: twice the integral of exp(-t * t) from 0 to `x`, over the root of pi.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.


    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The error is at most 2 units in the last place.


    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.erf(owl.from_numpy(np.array([-np.inf, 0, 0.5], np.float32))).to_numpy()
    array([-1.       ,  0.       ,  0.5204999], dtype=float32)
    """


def exp(x, /):
    """Exponential, element by element.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.

    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The error is at most 2 units in the last place. Beyond the range of the type the result is infinity or 0.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.exp(owl.from_numpy(np.array([-np.inf, 0], np.float32))).to_numpy()
    array([0., 1.], dtype=float32)
    """


def floor(x, /):
    """Largest whole number that is not above `x`, element by element.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.


    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    Exact. Infinities and NaN stay as they are. The derivative is 0.


    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.floor(owl.from_numpy(np.array([-1.5, -1, 2.7], np.float32))).to_numpy()
    array([-2., -1.,  2.], dtype=float32)
    """


def isfinite(x, /):
    """1 where `x` is neither infinite nor NaN, 0 elsewhere.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.


    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The derivative is 0.


    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.isfinite(owl.from_numpy(np.array([1, np.inf, np.nan], np.float32))).to_numpy()
    array([1., 0., 0.], dtype=float32)
    """


def ln(x, /):
    """Natural logarithm, element by element.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.

    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The error is at most 2 units in the last place. The logarithm of 0 is minus infinity, of a negative number NaN.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.ln(owl.from_numpy(np.array([0, 1], np.float32))).to_numpy()
    array([-inf,   0.], dtype=float32)
    """


def maximum(x, y, /):
    """The larger of two numbers, element by element.

    Parameters
    ----------
    x : NArray or number
        One of the two must be an array.
    y : NArray or number
        Dimensions equal to those of `x`, or 1.

    Returns
    -------
    NArray
        An array of the common shape.

    Raises
    ------
    ValueError
        If shapes differ and neither can be repeated along a dimension of 1.

    Notes
    -----
    NaN wins, as in NumPy. Of equals the first gets the gradient.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.maximum(owl.from_numpy(np.array([-1, 2], np.float32)), 0.0).to_numpy()
    array([0., 2.], dtype=float32)
    """


def minimum(x, y, /):
    """The smaller of two numbers, element by element.

    Parameters
    ----------
    x : NArray or number
        One of the two must be an array.
    y : NArray or number
        Dimensions equal to those of `x`, or 1.

    Returns
    -------
    NArray
        An array of the common shape.

    Raises
    ------
    ValueError
        If shapes differ and neither can be repeated along a dimension of 1.

    Notes
    -----
    NaN wins, as in NumPy. Of equals the first gets the gradient.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.minimum(owl.from_numpy(np.array([-1, 2], np.float32)), 0.0).to_numpy()
    array([-1.,  0.], dtype=float32)
    """


def mult(x, y, /):
    """Product, element by element.

    Parameters
    ----------
    x : NArray or number
        One of the two must be an array.
    y : NArray or number
        Dimensions equal to those of `x`, or 1.

    Returns
    -------
    NArray
        An array of the common shape.

    Raises
    ------
    ValueError
        If shapes differ and neither can be repeated along a dimension of 1.

    Notes
    -----
    `x * y` of two arrays is the matrix product; this is the product of their elements.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> a = owl.from_numpy(np.array([1, 2, 3], np.float32))
    >>> owl.elewise.mult(a, a).to_numpy()
    array([1., 4., 9.], dtype=float32)
    """


def pow(x, y, /):
    """Power, element by element.

    Parameters
    ----------
    x : NArray or number
        The base.
    y : NArray or number
        The exponent; dimensions equal to those of `x`, or 1.

    Returns
    -------
    NArray
        An array of the common shape.

    Raises
    ------
    ValueError
        If shapes differ and neither can be repeated along a dimension of 1.

    Notes
    -----
    The error is at most 4 units in the last place. A negative base gives NaN unless the exponent is a whole number;
    anything to the power of 0 is 1, as in NumPy.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.pow(owl.from_numpy(np.array([1, -2, 3], np.float32)), 2.0).to_numpy()
    array([1., 4., 9.], dtype=float32)
    """


def rsqrt(x, /):
    """Reciprocal square root, 1 / sqrt(x), element by element.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.


    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The error is at most 1.5 units in the last place. Of 0 it is infinity, of a negative number NaN.


    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.rsqrt(owl.from_numpy(np.array([0, 4], np.float32))).to_numpy()
    array([inf, 0.5], dtype=float32)
    """


def sqrt(x, /):
    """Square root, element by element, correctly rounded.

    Parameters
    ----------
    x : NArray
        float32 or float64, any shape.

    Returns
    -------
    NArray
        An array of the shape and type of `x`.

    Notes
    -----
    The root of a negative number is NaN.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.sqrt(owl.from_numpy(np.array([0, 9], np.float32))).to_numpy()
    array([0., 3.], dtype=float32)
    """


def where(condition, x, y, /):
    """One of two numbers, chosen by a condition, element by element.

    Parameters
    ----------
    condition : NArray
        Comparisons give 0 and 1; every number but 0, NaN included, counts as true.
    x : NArray or number
        Taken where the condition is true.
    y : NArray or number
        Taken elsewhere.

    Returns
    -------
    NArray
        An array of the common shape.

    Raises
    ------
    ValueError
        If shapes differ and neither can be repeated along a dimension of 1.

    Notes
    -----
    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> a = owl.from_numpy(np.array([-1, 2], np.float32))
    >>> owl.elewise.where(a > 0, a, 0.5).to_numpy()
    array([0.5, 2. ], dtype=float32)
    """
