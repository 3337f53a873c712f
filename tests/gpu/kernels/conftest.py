"""The CUDA kernels, compiled as C++: with checks of shared arrays, and plain."""

import pytest

from tests.gpu.kernels.library import Kernels


@pytest.fixture(scope="session", params=["checked", pytest.param("plain", marks=pytest.mark.standin)])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The kernels of `host.cpp`, built either way."""
    target = tmp_path_factory.mktemp("kernels") / f"{request.param}.so"
    return Kernels(target, f"-DOWL_CHECKED={int(request.param == 'checked')}")
