# Arrays from nothing: constants and random numbers. All are recorded, none is computed before it is needed.

cdef uint64_t random_seed = int.from_bytes(os.urandom(8), "little")


cdef double LARGEST_FLOAT = np.finfo(np.float32).max
cdef double LARGEST_DOUBLE = np.finfo(np.float64).max


cdef NArray fill(shape, double value, dtype, str what):
    cdef Draft draft
    parse_shape(shape, &draft.shape, what)
    draft.op = elementwise_op(Elementwise.copy)
    draft.dtype = parse_dtype(dtype, what)
    draft.add_scalar(0, value)
    return commit(draft)


def zeros(shape, dtype=None):
    """An array of zeros.

    Parameters
    ----------
    shape : int or list of int
        Dimensions, the fastest-varying first; at most 8.
    dtype : float32 or float64, optional
        float32 by default, or what ``OWL_DTYPE`` says.

    Examples
    --------
    >>> owl.zeros([2, 3]).shape
    [2, 3]
    """
    return fill(shape, 0.0, dtype, "zeros")


def ones(shape, dtype=None):
    """An array of ones. See `zeros`."""
    return fill(shape, 1.0, dtype, "ones")


def full(shape, value, dtype=None):
    """An array that holds `value` everywhere. See `zeros`."""
    if not is_number(value):
        raise DTypeError(f"[full] a number is wanted, not {value!r}")
    return fill(shape, as_double(value, "full"), dtype, "full")


cdef NArray draw(shape, Distribution distribution, double p0, double p1, dtype, str what):
    cdef Draft draft
    cdef RecordingStream* stream = current_stream()
    cdef uint64_t words[3]
    cdef int k
    cdef RandomAttributes attributes
    parse_shape(shape, &draft.shape, what)
    draft.op = Op.random
    draft.dtype = parse_dtype(dtype, what)
    attributes.distribution = <int64_t>distribution
    attributes.p0 = p0
    attributes.p1 = p1
    draft.set_attributes(attributes)
    next_draw(stream, words)
    for k in range(3):
        draft.add_argument(<int64_t>words[k])
    return commit(draft)


# Seed, stream and count of the next draw.
cdef int next_draw(RecordingStream* stream, uint64_t* words) except -1:
    cdef RandomNumbers* numbers
    if stream.draws is not NULL and (<DrawLog>stream.draws).draw(words):
        (<DrawLog>stream.draws).note(words)
        return 0
    numbers = current_numbers(stream)
    words[0] = random_seed
    words[1] = numbers.identity
    words[2] = numbers.draws
    numbers.draws += 1
    if stream.draws is not NULL:
        (<DrawLog>stream.draws).note(words)
    return 0


def randn(shape, mu=0.0, var=1.0, dtype=None):
    """An array of normally distributed random numbers.

    Parameters
    ----------
    shape : int or list of int
    mu : float
        Mean.
    var : float
        The standard deviation. The name is historical: it has never been the variance.
    dtype : float32 or float64, optional

    Notes
    -----
    Philox 4x32-10 (Salmon et al., SC 2011) and the Box-Muller transform. An array's numbers depend on the seed, on the
    thread or task that records, or `random_stream`, and on how many random arrays that recorded before: not on what is
    computed, or when.
    """
    cdef double mean = as_double(mu, "randn")
    cdef double deviation = as_double(var, "randn")
    if not deviation >= 0:
        raise OwlValueError(f"[randn] the standard deviation cannot be {var}")
    return draw(shape, Distribution.normal, mean, deviation, dtype, "randn")


def randb(shape, prob, dtype=None):
    """An array of ones with probability `prob` and zeros otherwise. See `randn`."""
    cdef double probability = as_double(prob, "randb")
    if not 0 <= probability <= 1:
        raise OwlValueError(f"[randb] a probability lies between 0 and 1, not {prob}")
    return draw(shape, Distribution.bernoulli, probability, 0.0, dtype, "randb")


def randu(shape, low=0.0, high=1.0, dtype=None):
    """An array of random numbers, uniform from `low` up to but not including `high`. See `randn`.

    If both are equal, so are all numbers. ValueError if `low` is above `high`, or if ``high - low`` is more than the dtype
    can hold.
    """
    cdef double least = as_double(low, "randu")
    cdef double most = as_double(high, "randu")
    cdef double largest = LARGEST_DOUBLE if parse_dtype(dtype, "randu") == DType.f64 else LARGEST_FLOAT
    if not least <= most:
        raise OwlValueError(f"[randu] low={low} is not below high={high}")
    if not most - least <= largest:
        raise OwlValueError(f"[randu] the range from {low} to {high} is larger than {dtype_object(parse_dtype(dtype, 'randu'))} "
                            "can hold")
    return draw(shape, Distribution.uniform, least, most, dtype, "randu")


def seed(value):
    """Seeds all random numbers that are recorded from now on. Without it they differ from run to run.

    Every thread, task and `random_stream` begins anew. It may be called in any thread.

    Examples
    --------
    >>> owl.seed(1); a = owl.randn([3])
    >>> owl.seed(1); b = owl.randn([3])
    >>> (a - b).count_zero()
    3
    """
    global random_seed
    random_seed = int(value) & 0xFFFFFFFFFFFFFFFF
    seed_streams()
