"""The activations of owl.elewise, as elewise.py has the other functions."""


def gelu(x, /):
    """Gaussian error linear unit, ``x * (1 + erf(x / sqrt(2))) / 2``, element by element.

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
    The exact form, not the approximation by tanh: `x` times the probability that a normally distributed number is below
    it. The error is at most 8 units in the last place, of large negative numbers too. Of minus infinity it is -0.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.gelu(owl.from_numpy(np.array([-1, 0, 1], np.float32))).to_numpy()
    array([-0.15865527,  0.        ,  0.8413447 ], dtype=float32)
    """


def leaky_relu(x, slope, /):
    """Rectifier with a slope: `x` where it is positive, ``slope * x`` elsewhere.

    Parameters
    ----------
    x : NArray or number
        One of the two must be an array.
    slope : number or NArray
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
    The derivative at 0 is `slope`. NaN stays NaN.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.leaky_relu(owl.from_numpy(np.array([-2, 0, 3], np.float32)), 0.5).to_numpy()
    array([-1.,  0.,  3.], dtype=float32)
    """


def relu(x, /):
    """Rectifier: `x` where it is positive, 0 elsewhere.

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
    NaN stays NaN.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.relu(owl.from_numpy(np.array([-1, 0, 2], np.float32))).to_numpy()
    array([0., 0., 2.], dtype=float32)
    """


def relu_back(y, x, /):
    """Gradient through a rectifier: `y` where `x` is positive, 0 elsewhere.

    Parameters
    ----------
    y : NArray
        The incoming gradient.
    x : NArray
        The rectifier's input or its result, which are positive at the same places.

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
    >>> g = owl.from_numpy(np.array([5, 6], np.float32))
    >>> x = owl.from_numpy(np.array([-1, 2], np.float32))
    >>> owl.elewise.relu_back(g, x).to_numpy()
    array([0., 6.], dtype=float32)
    """


def sigm(x, /):
    """Logistic function 1 / (1 + exp(-x)), element by element.

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
    The error is at most 4 units in the last place, for large negative `x` too.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.sigm(owl.from_numpy(np.array([-np.inf, 0, np.inf], np.float32))).to_numpy()
    array([0. , 0.5, 1. ], dtype=float32)
    """


def sigm_back(y, top=None, /):
    """Derivative y * (1 - y) of the logistic function, from its result `y`.

    Parameters
    ----------
    y : NArray
        A result of `sigm`; with `top`, the gradient that comes in.
    top : NArray, optional
        A result of `sigm`.

    Returns
    -------
    NArray
        An array of the shape and type of `y`.

    Notes
    -----
    Called as ``sigm_back(diff, top)`` it gives ``diff * top * (1 - top)``.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.sigm_back(owl.from_numpy(np.array([0, 0.5], np.float32))).to_numpy()
    array([0.  , 0.25], dtype=float32)
    """


def softplus(x, /):
    """Smooth form of relu, ln(1 + exp(x)), element by element.

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
    The error is at most 2 units in the last place, where the result is near 0, too. It does not overflow.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.softplus(owl.from_numpy(np.array([-100, 0, 1000], np.float32))).to_numpy()
    array([3.783506e-44, 6.931472e-01, 1.000000e+03], dtype=float32)
    """


def tanh(x, /):
    """Hyperbolic tangent, element by element.

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
    The error is at most 4 units in the last place.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.tanh(owl.from_numpy(np.array([-np.inf, 0, np.inf], np.float32))).to_numpy()
    array([-1.,  0.,  1.], dtype=float32)
    """


def tanh_back(y, top=None, /):
    """Derivative 1 - y * y of the hyperbolic tangent, from its result `y`.

    Parameters
    ----------
    y : NArray
        A result of `tanh`; with `top`, the gradient that comes in.
    top : NArray, optional
        A result of `tanh`.

    Returns
    -------
    NArray
        An array of the shape and type of `y`.

    Notes
    -----
    Called as ``tanh_back(diff, top)`` it gives ``diff * (1 - top * top)``.

    Records the operation and returns at once; any thread may call it.

    Examples
    --------
    >>> owl.elewise.tanh_back(owl.from_numpy(np.array([0, 0.5], np.float32))).to_numpy()
    array([1.  , 0.75], dtype=float32)
    """
