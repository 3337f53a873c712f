"""The GPUs of this machine by NVML, the library of NVIDIA's driver that only looks.

The driver itself is never touched: once a process has initialized it, CUDA fails in processes forked from it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_void_p
from dataclasses import dataclass
from functools import cache

from owl._cuda import nvrtc
from owl._runtime import OwlValueError

_TEXT = 96  # bytes that each of NVML's texts fits into
_PARAMETERS: dict[str, list] = {
    "nvmlInit_v2": [],
    "nvmlShutdown": [],
    "nvmlSystemGetDriverVersion": [c_char_p, c_uint],
    "nvmlSystemGetCudaDriverVersion_v2": [POINTER(c_int)],
    "nvmlDeviceGetCount_v2": [POINTER(c_uint)],
    "nvmlDeviceGetHandleByIndex_v2": [c_uint, POINTER(c_void_p)],
    "nvmlDeviceGetName": [c_void_p, c_char_p, c_uint],
    "nvmlDeviceGetUUID": [c_void_p, c_char_p, c_uint],
    "nvmlErrorString": [c_int],
}
OLDEST_CUDA = 12


@dataclass(frozen=True)
class Machine:
    """What NVML says, once for the process; `problem` says why it says nothing."""

    problem: str = ""
    driver: str = ""
    cuda: tuple[int, int] = (0, 0)  # the newest that the driver is for
    names: tuple[str, ...] = ()
    uuids: tuple[str, ...] = ()


@cache
def machine() -> Machine:
    """Asks NVML."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        for name, parameters in _PARAMETERS.items():
            getattr(library, name).argtypes = parameters
    except (OSError, AttributeError):
        return Machine(problem="there is no NVIDIA driver: install NVIDIA's driver")
    library.nvmlErrorString.restype = c_char_p
    error = library.nvmlInit_v2()
    if error:
        said = (library.nvmlErrorString(error) or b"").decode(errors="replace")
        return Machine(
            problem=f"NVIDIA's driver does not answer ({said or error}): install it anew, or restart the machine"
        )
    try:
        return _ask(library)
    finally:
        library.nvmlShutdown()


def _ask(library: ctypes.CDLL) -> Machine:
    cuda, count = c_int(), c_uint()
    library.nvmlSystemGetCudaDriverVersion_v2(byref(cuda))
    library.nvmlDeviceGetCount_v2(byref(count))
    names, uuids = [], []
    for index in range(count.value):
        handle = c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, byref(handle)):
            break  # CUDA numbers those before one that is lost
        names.append(_text(library.nvmlDeviceGetName, handle))
        uuids.append(_text(library.nvmlDeviceGetUUID, handle))
    return Machine(
        driver=_text(library.nvmlSystemGetDriverVersion),
        cuda=(cuda.value // 1000, cuda.value % 1000 // 10),
        names=tuple(names),
        uuids=tuple(uuids),
    )


def _text(function, *arguments) -> str:
    held = ctypes.create_string_buffer(_TEXT)
    return "" if function(*arguments, held, _TEXT) else held.value.decode(errors="replace")


def standin() -> bool:
    """Whether the stand-in takes the place of NVIDIA's driver."""
    chosen = os.environ.get("OWL_CUDA_DRIVER", "")
    if chosen not in ("", "standin"):
        raise OwlValueError(f"OWL_CUDA_DRIVER is standin, not {chosen!r}")
    return chosen == "standin"


def standin_number(variable: str, default: int) -> int:
    """A size of the stand-in's, from the environment."""
    text = os.environ.get(variable, "") or str(default)
    if not text.isdecimal() or not int(text):
        raise OwlValueError(f"{variable} is a whole number above 0, not {text!r}")
    return int(text)


def gpu_count() -> int:
    """How many GPUs CUDA would show to this process; 0 where there is no driver."""
    if standin():
        return standin_number("OWL_STANDIN_DEVICES", 1)
    return len(_visible(machine().uuids))


def gpu_names() -> list[str]:
    """The names of those GPUs, in NVML's order; CUDA's may differ where the GPUs are of several kinds."""
    if standin():
        return ["stand-in"] * gpu_count()
    return [machine().names[number] for number in _visible(machine().uuids)]


def driver_version() -> str:
    """The version of NVIDIA's driver, such as "580.65.06"; "" where there is none."""
    return machine().driver


def cuda_version() -> tuple[int, int] | None:
    """The newest CUDA that the driver is for, such as (13, 0)."""
    return machine().cuda if machine().cuda > (0, 0) else None


def major() -> int:
    """The major version of CUDA whose libraries fit the driver, which refuses the code of one newer than its own."""
    cuda = cuda_version()
    return min(cuda[0], nvrtc.MAJORS[0]) if cuda else nvrtc.MAJORS[0]


def missing() -> str | None:
    """Why this process cannot use a GPU, and what to do; None if all that can be seen from outside is there."""
    if standin():
        return None
    if machine().problem:
        return machine().problem
    driver, cuda = driver_version(), cuda_version()
    if cuda and cuda[0] < OLDEST_CUDA:
        return f"NVIDIA's driver {driver} is for CUDA {cuda[0]}.{cuda[1]}: install one for CUDA {OLDEST_CUDA} or newer"
    if not gpu_count():
        if machine().names:
            return f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')!r} hides every GPU: unset it"
        return f"NVIDIA's driver {driver} finds no GPU"
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed: pip install 'owl-runtime[cuda{major()}]'"
    try:
        nvrtc.compiler(major())
    except RuntimeError as error:
        return str(error)
    return None


def _visible(uuids: tuple[str, ...]) -> list[int]:
    """The numbers of the GPUs that CUDA_VISIBLE_DEVICES leaves, as CUDA reads it.

    The first entry that names no GPU ends the list, and one that is repeated empties it. A slice of a GPU ("MIG-…") is
    taken to be there, on the first GPU: CUDA shows a process one of them.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for entry in listed.split(","):
        if entry.strip().startswith("MIG-"):
            return found or [0][: len(uuids)]
        number = _number(entry.strip(), uuids)
        if number is None:
            break
        if number in found:
            return []
        found.append(number)
    return found


def _number(entry: str, uuids: tuple[str, ...]) -> int | None:
    """The GPU that an entry names by its number or by the beginning of its UUID; None if that is not exactly one."""
    if entry.startswith("GPU-"):
        named = [number for number, uuid in enumerate(uuids) if uuid.startswith(entry)]
        return named[0] if len(named) == 1 else None
    digits = re.match(r"\+?(\d+)", entry)  # what follows the digits does not count
    return int(digits[1]) if digits and int(digits[1]) < len(uuids) else None
