# Settings from the environment: each is checked when owl is imported, so that a wrong one is told at once.


cdef str setting(str name, str default, tuple allowed):
    value = os.environ.get(name, "")
    if value in ("", *allowed):
        return value or default
    raise OwlValueError(f"{name} is {' or '.join(allowed)}, not {value!r}")


cdef object number_setting(str name, default):
    value = os.environ.get(name, "")
    try:
        return int(value) if value else default
    except ValueError:
        raise OwlValueError(f"{name} is a whole number, not {value!r}") from None
