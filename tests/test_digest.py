"""Every bit is as before: the nets, single convolutions, the planner's loops and 500 random programs."""

import pytest

from tests.support import digest

PARTS = digest.parts()
EARLY = [name for name in PARTS if not name.startswith("programs: ") or name.startswith("programs: 0 ")]


def parameters() -> list:
    return [pytest.param(name, id=name, marks=() if name in EARLY else (pytest.mark.long,)) for name in PARTS]


# Filter and bias gradients add in an order of a GPU's own, and it has no convolution by Winograd's algorithm. What it
# computes in the order of CPUs is a part by itself.
OTHER_ON_A_GPU = ("convolutions", "net: convolution", "programs: ")


@pytest.mark.parametrize("name", parameters())
def test_every_bit_is_as_in_the_commit_that_wrote_the_digest(name, request):
    if "gpu" in request.config.getoption("--device") and name.startswith(OTHER_ON_A_GPU):
        pytest.skip("convolutions have other bits on a GPU")
    assert PARTS[name]() == digest.wanted()[name]


def test_the_digest_has_each_part_once_and_no_other():
    assert set(digest.wanted()) == set(PARTS)
