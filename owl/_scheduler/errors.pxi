# What goes wrong, and how it is told. Errors while recording are raised at the user's line and are also the built-in
# exception that NumPy would raise; a failure while running is raised where the value is requested.


class OwlError(Exception):
    """Base of all errors that owl raises."""


class ShapeError(OwlError, ValueError):
    """Shapes that do not fit the operation."""


class DTypeError(OwlError, TypeError):
    """A dtype that owl does not compute with, or a value of the wrong type."""


class AxisError(OwlError, ValueError, IndexError):
    """A dimension that the array does not have."""


class OwlIndexError(OwlError, IndexError):
    """An index outside the array."""


class OwlTypeError(OwlError, TypeError):
    """An argument of the wrong type."""


class OwlValueError(OwlError, ValueError):
    """An argument with an impossible value."""


class OwlOverflowError(OwlError, OverflowError):
    """A number that a float cannot hold."""


class OwlRuntimeError(OwlError, RuntimeError):
    """A call at a time when it cannot be made."""


class DeviceError(OwlError, RuntimeError):
    """A device that does not exist or cannot be used, with what is missing."""


class ExecutionError(OwlError, RuntimeError):
    """An operation failed while running, or an operation it depends on did.

    Attributes
    ----------
    kind : str
        ``"out_of_memory"``, ``"injected"``, ``"forked"``, ``"dropped"``, ``"promise"`` or ``"device"``: the device or its driver
        reported an error.
    origins : list of (str, str, int)
        Each operation of the kernel that failed: its name, and file and line that recorded it.
    """

    def __init__(self, message, kind="", origins=()):
        super().__init__(message)
        self.kind = kind
        self.origins = list(origins)

    def __reduce__(self):
        return type(self), (self.args[0], self.kind, self.origins)


class OutOfMemoryError(ExecutionError, MemoryError):
    """There is no memory for a value beside what it is computed from and what the program still holds.

    The message says how many bytes were asked for, how many are in use, and the limit. All other values are intact.
    """


cdef tuple FAILURE_KINDS = ("out_of_memory", "injected", "forked", "dropped", "promise", "device")


cdef list failure_origins(Failure* failure):
    cdef list origins = []
    cdef size_t i
    for i in range(failure.origins.size()):
        origin = (operation_name(<Op>failure.origins[i].op).decode(),) + site_location(failure.origins[i].site)
        if origin not in origins:
            origins.append(origin)
    return origins


cdef str failure_text(Failure* failure, list origins):
    cdef str text = (<bytes>failure.message).decode("utf-8", "replace")
    if not origins:
        return text
    cdef str names = ", ".join([f"{name} at {file}:{line}" for name, file, line in origins[:8]])
    if len(origins) > 8:
        names += f" and {len(origins) - 8} more"
    return f"[{origins[0][0]}] {text} (recorded: {names})"


cdef object make_exception(Failure* failure):
    failure.observed.store(True)
    cdef list origins = failure_origins(failure)
    cls = OutOfMemoryError if failure.kind == FailureKind.out_of_memory else ExecutionError
    return cls(failure_text(failure, origins), FAILURE_KINDS[<int>failure.kind], origins)


cdef void report_unobserved_failures() noexcept:
    # One line each, as asyncio tells of an exception that was never retrieved.
    cdef vector[Failure*] failures = take_unobserved_failures()
    cdef size_t i
    for i in range(failures.size()):
        try:
            text = failure_text(failures[i], failure_origins(failures[i]))
            if sys is not None and sys.stderr is not None:
                sys.stderr.write(f"owl: exception was never retrieved: {text}\n")
        except Exception:
            pass
        del failures[i]
