"""The stand-in driver, compiled once; each test has one of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from owl.testing import _standin
from tests.gpu.contract.driving import SUCCESS, Driver, fresh

Make = Callable[..., Driver]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.standin)


@pytest.fixture(scope="session")
def path() -> Path:
    return _standin.build(checked=True)


@pytest.fixture
def unconfigured(path: Path, tmp_path: Path) -> Driver:
    return fresh(path, tmp_path)


@pytest.fixture(params=["lazy", "threads"])
def make(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes a driver with what a test asks for, run in both ways. At the end no problem may be left unseen."""
    drivers: list[Driver] = []

    def one(**options: Any) -> Driver:
        drivers.append(fresh(path, tmp_path))
        return drivers[-1].started(lazy=request.param == "lazy", **options)

    yield one
    for driver in drivers:
        assert driver.call("cuCtxSynchronize") != SUCCESS or not driver.problems()


@pytest.fixture
def driver(make: Make) -> Driver:
    return make()


@pytest.fixture
def lazy(path: Path, tmp_path: Path) -> Driver:
    return fresh(path, tmp_path).started(lazy=True)
