# Nests: arrays in dicts, lists, tuples, NamedTuples and dataclasses, one in the other, as models keep their parameters.
#
# Whole numbers, strings, None and callables in a nest are settings: they stay where they are. What else is no array is refused,
# so that a number or a NumPy array among the parameters does not silently stay as it is.

# Appends the arrays of a nest, in the order of its containers. `strict`: what does not belong into one raises NotInNest.
cdef int flatten(nest, list leaves, bint strict) except -1:
    kind = type(nest)
    if kind is NArray:
        leaves.append(nest)
    elif kind is dict or kind is list or kind is tuple:
        for child in (<dict>nest).values() if kind is dict else nest:
            flatten(child, leaves, strict)
    elif isinstance(nest, (dict, list, tuple)):
        for child in nest.values() if isinstance(nest, dict) else nest:
            flatten(child, leaves, strict)
    elif is_dataclass(nest):
        for name in nest.__dataclass_fields__:
            flatten(getattr(nest, name), leaves, strict)
    elif strict and not is_setting(nest):
        raise NotInNest
    return 0


class NotInNest(Exception):
    pass


cdef bint is_dataclass(value):
    return hasattr(type(value), "__dataclass_fields__")


cdef bint is_setting(value):
    return value is None or isinstance(value, (bool, int, str, bytes)) or callable(value)


# The same containers with other arrays, taken from `leaves` in order.
cdef object rebuild(nest, list leaves, Py_ssize_t* at):
    kind = type(nest)
    if kind is NArray:
        at[0] += 1
        return leaves[at[0] - 1]
    if kind is dict:
        return {key: rebuild(child, leaves, at) for key, child in (<dict>nest).items()}
    if kind is list:
        return [rebuild(child, leaves, at) for child in <list>nest]
    if kind is tuple:
        return tuple([rebuild(child, leaves, at) for child in <tuple>nest])
    if isinstance(nest, dict):
        out = copy.copy(nest)
        for key in nest:
            out[key] = rebuild(nest[key], leaves, at)
        return out
    if isinstance(nest, tuple):
        children = [rebuild(child, leaves, at) for child in nest]
        return nest._make(children) if hasattr(nest, "_make") else kind(children)
    if isinstance(nest, list):
        return kind([rebuild(child, leaves, at) for child in nest])
    if is_dataclass(nest):
        out = kind.__new__(kind)
        for name in nest.__dataclass_fields__:
            object.__setattr__(out, name, rebuild(getattr(nest, name), leaves, at))
        return out
    return nest


# The arrays of a nest. `name` is that of the nest in the error's path.
cdef list leaves_of(nest, str what, str name):
    cdef list leaves = []
    try:
        flatten(nest, leaves, True)
    except NotInNest:
        path, found = foreign_leaf(nest, name)
        hint = ": owl.from_numpy makes an array of it" if isinstance(found, (np.ndarray, np.generic, float)) else ""
        raise DTypeError(f"[{what}] {path} must be an owl array, not {type(found).__name__}{hint}") from None
    return leaves


# The arrays of a nest that may hold anything else.
cdef list arrays_in(nest):
    cdef list leaves = []
    flatten(nest, leaves, False)
    return leaves


# The same values under handles of its own: an in-place operator points only those of others elsewhere.
cdef object held(nest):
    cdef Py_ssize_t at = 0
    return rebuild(nest, [same_value(leaf) for leaf in arrays_in(nest)], &at)


cdef object children_of(nest):
    if isinstance(nest, dict):
        return [(f"[{key!r}]", child) for key, child in nest.items()]
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return [(f".{name}", getattr(nest, name)) for name in nest._fields]
    if isinstance(nest, (list, tuple)):
        return [(f"[{k}]", child) for k, child in enumerate(nest)]
    if is_dataclass(nest):
        return [(f".{name}", getattr(nest, name)) for name in nest.__dataclass_fields__]
    return None


# Where the first value is that does not belong into a nest, and the value; None if there is none.
cdef tuple foreign_leaf(nest, str path):
    children = children_of(nest)
    if children is None:
        return None if type(nest) is NArray or is_setting(nest) else (path, nest)
    for step, child in children:
        found = foreign_leaf(child, path + step)
        if found is not None:
            return found
    return None


def nest_leaves(nest, what="nest", name="nest"):
    """The arrays of a nest, in order."""
    return leaves_of(nest, what, name)


def nest_rebuilt(nest, leaves):
    """The same containers with other leaves."""
    cdef Py_ssize_t at = 0
    return rebuild(nest, list(leaves), &at)


def nest_paths(nest, name=""):
    """The path of each array of a nest, as ``w[0].bias``, in order."""
    children = children_of(nest)
    if children is None:
        return [name] if type(nest) is NArray else []
    return [path for step, child in children for path in nest_paths(child, name + step)]


# The arrays of a nest that must have the containers of another.
cdef list matching_leaves(nest, like, str what, str name):
    found = leaves_of(nest, what, name)
    paths, expected = nest_paths(nest, name), nest_paths(like, name)
    if paths != expected:
        missing = [path for path in expected if path not in paths]
        extra = [path for path in paths if path not in expected]
        raise OwlTypeError(f"[{what}] {name} has another structure than expected: " +
                           (f"{missing[0]} is missing" if missing else f"{extra[0]} is one too many" if extra else "its order differs"))
    return found
