"""A program's own kernel: its text, the code that is compiled from it, and the function that is launched."""

from __future__ import annotations

import warnings
from typing import Any

from owl._cuda import edge
from owl._cuda.specialized import Program, text

_images: dict[tuple[str, bytes], bytes] = {}  # by compute capability and program
_functions: dict[tuple[int, bytes], Any] = {}  # by GPU and program: devices of one GPU share its context
_warned = False


def function(gpu: edge.OpenedGpu, code: bytes) -> int:
    """The driver's handle of the kernel of a program, compiled and loaded if it is not there. It stays for ever.

    To be called by one thread alone, which releases the GIL while a compiler runs.

    Parameters
    ----------
    gpu : OpenedGpu
        The device.
    code : bytes
        The program, as `Program.unpack` reads it.

    Raises
    ------
    Exception
        CuPy's, the compiler's or the system's.
    """
    place = gpu.device.id, code
    if place not in _functions:
        program = Program.unpack(code)
        made = gpu.device.compute_capability, code
        if made not in _images:
            _images[made] = edge.kernel_image(text(program), program.kernel, gpu)
        _functions[place] = edge.add_kernel(_images[made], program.kernel, gpu)
    return _functions[place].ptr


def warn(error: Exception) -> None:
    """Tells once that programs stay with the interpreter, and why."""
    global _warned
    if _warned:
        return
    _warned = True
    first = (str(error) or type(error).__name__).splitlines()[0]
    warnings.warn(f"programs run by the interpreter, as right and slower: {first}", RuntimeWarning, stacklevel=1)
