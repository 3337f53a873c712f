"""Where a stream of recording is cut, of numbers alone."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

KIBIBYTE = 1 << 10


def loop(period, rounds, *, bytes=4 * KIBIBYTE, first=0):
    """A chain: each operation reads the one before it; the numbers of a round are all different."""
    return [(first + 1 + at % period, bytes, [at - 1] if at else [], False) for at in range(period * rounds)]


@given(period=st.integers(64, 400), first=st.integers(0, 1 << 40))
def test_a_loop_is_cut_once_a_round(native, period, first):
    cuts = native.Cuts().feed(loop(period, 12, first=first))
    assert len(cuts) >= 8
    assert {later - earlier for earlier, later in itertools.pairwise(cuts[3:])} == {period}


@given(period=st.integers(4, 63))
def test_a_short_loop_is_cut_after_whole_rounds_that_are_worth_a_window(native, period):
    cuts = native.Cuts().feed(loop(period, 2000 // period, bytes=4))
    lengths = [later - earlier for earlier, later in itertools.pairwise(cuts[2:])]
    assert lengths
    assert all(length % period == 0 for length in lengths)
    assert all(64 <= length < 64 + period for length in lengths)


@given(st.lists(st.integers(1, 1 << 62), min_size=200, max_size=600, unique=True))
def test_a_stream_that_never_repeats_is_never_cut(native, signatures):
    assert native.Cuts().feed([(signature, 1 << 20, [], False) for signature in signatures]) == []


@given(period=st.integers(80, 200), narrow=st.integers(0, 1 << 20))
def test_the_cut_moves_to_where_the_fewest_bytes_cross(native, period, narrow):
    narrow %= period
    rounds = 14
    recorded = [
        (1 + at % period, 4 if at % period == narrow else 1 << 20, [at - 1] if at else [], False)
        for at in range(period * rounds)
    ]
    cuts = native.Cuts().feed(recorded)
    # Places count from 1: a window begins right after the only value that is small. There may be a second cut.
    assert narrow in {(cut - 2) % period for cut in cuts[-4:]}


def test_an_inner_loop_gives_way_to_the_outer_one_where_fewer_bytes_cross(native):
    """Twelve equal inner rounds that pass much on, then an end that passes on next to nothing."""
    inner, inner_rounds, tail = 64, 12, 8
    recorded = []

    def add(signature, bytes):
        recorded.append((signature, bytes, [len(recorded) - 1] if recorded else [], False))

    for _ in range(60):  # one place in a window is weighed, and places take turns
        for _ in range(inner_rounds):
            for at in range(inner):
                add(1 + at, 1 << 20)
        for at in range(tail):
            add(1000 + at, 4)
    outer = inner * inner_rounds + tail
    cuts = native.Cuts().feed(recorded)
    assert cuts[2] - cuts[1] == inner
    assert [later - earlier for earlier, later in itertools.pairwise(cuts[-3:])] == [outer] * 2


def test_a_detector_that_forgets_is_as_new(native):
    cuts = native.Cuts()
    first = cuts.feed(loop(20, 3, bytes=1 << 20))
    assert first
    assert cuts.reset()
    assert cuts.recorded == 0
    assert cuts.feed(loop(20, 3, bytes=1 << 20)) == first


def test_a_detector_that_has_grown_is_not_kept(native):
    cuts = native.Cuts()
    cuts.feed(loop(400, 5))
    assert not cuts.reset()
