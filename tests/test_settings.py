"""Settings from the environment: a wrong one is told when owl is imported."""

import pytest

from tests.support.processes import run


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OWL_FUSE", "2", "OWL_FUSE is 0 or 1, not '2'"),
        ("OWL_FUSE", "no", "OWL_FUSE is 0 or 1, not 'no'"),
        ("OWL_WINOGRAD", "x", "OWL_WINOGRAD is 0 or 1, not 'x'"),
        ("OWL_WINDOW", "x", "OWL_WINDOW is random, not 'x'"),
        ("OWL_DTYPE", "float16", "float32 and float64, not float16"),
    ],
)
def test_a_value_that_is_not_known_is_refused(name, value, told):
    out = run("import owl", **{name: value})
    assert out.returncode == 1
    assert told in out.stderr.splitlines()[-1]


def test_the_seed_of_windows_is_a_whole_number():
    out = run("import owl", OWL_WINDOW="random", OWL_WINDOW_SEED="x")
    assert "OWL_WINDOW_SEED is a whole number, not 'x'" in out.stderr
    assert run("import owl", OWL_WINDOW="random", OWL_WINDOW_SEED="-3").returncode == 0
