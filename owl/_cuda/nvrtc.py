"""NVRTC, NVIDIA's run-time compiler: C++ text to the code of one architecture, every bit as written.

The library is looked for when something is first compiled: by the loader, in NVIDIA's wheels, by `cuda.pathfinder`, in
the toolkit's folder. Calls release the GIL. NVRTC itself initializes the driver when it compiles, though not when it is
opened, so processes that are forked afterwards cannot use CUDA.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator, Mapping
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from pathlib import Path

# No fast mathematics: a multiplication and an addition are fused where the text says so, and denormals stay.
OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "-default-device")
MAJORS = (13, 12)  # of CUDA, the newest first
MOST_LINES = 12  # of the compiler's log in an error

_PARAMETERS: dict[str, list] = {
    "nvrtcVersion": [POINTER(c_int), POINTER(c_int)],
    "nvrtcCreateProgram": [POINTER(c_void_p), c_char_p, c_char_p, c_int, POINTER(c_char_p), POINTER(c_char_p)],
    "nvrtcCompileProgram": [c_void_p, c_int, POINTER(c_char_p)],
    "nvrtcGetProgramLogSize": [c_void_p, POINTER(c_size_t)],
    "nvrtcGetProgramLog": [c_void_p, c_char_p],
    "nvrtcGetCUBINSize": [c_void_p, POINTER(c_size_t)],
    "nvrtcGetCUBIN": [c_void_p, c_char_p],
    "nvrtcDestroyProgram": [POINTER(c_void_p)],
    "nvrtcGetErrorString": [c_int],
}


class Compiler:
    """An opened NVRTC.

    Attributes
    ----------
    path : str
        The library.
    version : tuple of two int
        Its version, such as ``(13, 0)``.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, parameters in _PARAMETERS.items():
            getattr(library, name).argtypes = parameters
        library.nvrtcGetErrorString.restype = c_char_p
        self._library = library
        self.path: str = library._name
        major, minor = c_int(), c_int()
        self._check("nvrtcVersion", byref(major), byref(minor))
        self.version = major.value, minor.value

    def __str__(self) -> str:
        return f"NVRTC {self.version[0]}.{self.version[1]} ({self.path})"

    def compile(self, sources: Mapping[str, str], architecture: int, options: tuple[str, ...] = ()) -> bytes:
        """Compiles a program to a cubin.

        Parameters
        ----------
        sources : mapping of str to str
            Texts by their names. The first is the program, the others are what it includes, under exactly these names.
        architecture : int
            The compute capability without its point, such as 90.
        options : tuple of str
            Beside `OPTIONS`.

        Raises
        ------
        owl.DeviceError
            If the text is wrong, or this NVRTC does not know the architecture: with the first lines of its log.
        """
        (name, text), *headers = ((name.encode(), text.encode()) for name, text in sources.items())
        names, texts = _strings(name for name, _ in headers), _strings(text for _, text in headers)
        words = _strings(word.encode() for word in (f"--gpu-architecture=sm_{architecture}", *OPTIONS, *options))
        program = c_void_p()
        self._check("nvrtcCreateProgram", byref(program), text, name, len(headers), texts, names)
        try:
            if error := self._library.nvrtcCompileProgram(program, len(words), words):
                log = self._read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").rstrip(b"\0").decode()
                lines = [line for line in log.splitlines() if line.strip()][:MOST_LINES]
                raise _error(
                    "\n".join(
                        [f"{self} cannot compile {name.decode()} for sm_{architecture}: {self._says(error)}", *lines]
                    )
                )
            return self._read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        finally:
            self._library.nvrtcDestroyProgram(byref(program))

    def _read(self, program: c_void_p, size_of: str, read: str) -> bytes:
        size = c_size_t()
        self._check(size_of, program, byref(size))
        data = ctypes.create_string_buffer(size.value)
        self._check(read, program, data)
        return data.raw

    def _check(self, function: str, *arguments) -> None:
        if error := getattr(self._library, function)(*arguments):
            raise _error(f"{self.path}: {function} failed: {self._says(error)}")

    def _says(self, error: int) -> str:
        return self._library.nvrtcGetErrorString(error).decode()


@cache
def compiler(newest: int = MAJORS[0]) -> Compiler:
    """The NVRTC of this machine.

    Parameters
    ----------
    newest : int
        The newest major version that will do: a driver may refuse code of a newer one than its own.

    Raises
    ------
    owl.DeviceError
        If none is found.
    """
    for path in _places(newest):
        try:
            found = Compiler(ctypes.CDLL(path))
        except (OSError, AttributeError):  # not there; not an NVRTC
            continue
        if found.version[0] in MAJORS and found.version[0] <= newest:
            return found
    raise _error(f"NVRTC of CUDA {newest} is not found: pip install 'owl-runtime[cuda{newest}]'")


def _places(newest: int) -> Iterator[str]:
    """Where NVRTC may be, the best place first."""
    majors = [major for major in MAJORS if major <= newest]
    yield from (f"libnvrtc.so.{major}" for major in majors)  # one that is loaded already, or that the loader finds
    wheels = importlib.util.find_spec("nvidia")
    for major in majors:
        for folder in wheels.submodule_search_locations or () if wheels else ():
            for part in (f"cu{major}", "cuda_nvrtc"):
                yield from _existing(Path(folder) / part / "lib", major)
    yield from _by_pathfinder()
    for major in majors:
        for toolkit in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
            if toolkit:
                yield from _existing(Path(toolkit) / "lib64", major)


def _existing(folder: Path, major: int) -> list[str]:
    path = folder / f"libnvrtc.so.{major}"
    return [str(path)] if path.exists() else []


def _by_pathfinder() -> list[str]:
    """The place that `cuda.pathfinder` knows, which looks into conda's environments too; CuPy depends on it."""
    try:
        from cuda import pathfinder  # type: ignore[attr-defined, import-not-found, import-untyped, unused-ignore]

        return [str(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)]
    except Exception:  # it is not installed, or found nothing, which it says in its own ways
        return []


def _strings(values) -> ctypes.Array[c_char_p]:
    values = list(values)
    return (c_char_p * len(values))(*values)


def _error(text: str) -> RuntimeError:
    try:
        from owl._runtime import DeviceError
    except ImportError:  # owl is not built yet: scripts/gpu-facts does without
        return RuntimeError(text)
    return DeviceError(text)
