"""The CUDA kernels, compiled as C++: with checks of shared arrays, and plain."""

from pathlib import Path

import pytest

from tests.gpu.kernels.library import Kernels


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.standin)


@pytest.fixture(scope="session", params=["checked", "plain"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The kernels of `host.cpp`, built either way."""
    target = tmp_path_factory.mktemp("kernels") / f"{request.param}.so"
    return Kernels(target, f"-DOWL_CHECKED={int(request.param == 'checked')}")
