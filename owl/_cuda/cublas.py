"""Where cuBLAS is, NVIDIA's library of matrix products, which owl does without."""

from __future__ import annotations

from owl._cuda import nvml

#: What became of it in this process, for `owl.show_config`.
outcome = "looked for when a GPU device is created"


def library() -> str | None:
    """The path of the library; None if it is not installed.

    `cuda.pathfinder` knows the places: NVIDIA's wheels, conda's environments, the toolkit. It also loads the library,
    which does not initialize the driver.
    """
    if nvml.standin():
        from owl.testing import _standin

        return str(_standin.library())
    try:
        from cuda import pathfinder  # type: ignore[attr-defined, import-not-found, import-untyped, unused-ignore]

        return str(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception:  # it is not installed, or found nothing, which it says in its own ways
        return None


def is_hopper(capability: str) -> bool:
    """Whether a GPU is of compute capability 9.0 or later, for which NVIDIA recommends a larger workspace."""
    return int(capability) >= 90


def tell(what: str) -> None:
    """Remembers what became of it."""
    global outcome
    outcome = what
