"""A state taken anywhere in an epoch continues it exactly, after a trip through JSON."""

import asyncio
import json
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import owl
from owl.aio.pipeline import Pipeline, PipelineError
from owl.aio.pipeline.state import Ledger

from .functions import double, draw


def through_json(pipe):
    return json.loads(json.dumps(pipe.state_dict()))


def stop_after(pipe, n):
    """What the first n steps delivered, and the state in the middle of the loop."""
    out = []
    if n == 0:
        with pipe:
            return out, through_json(pipe)
    with pipe as items:
        out.extend(item for _, item in zip(range(n), items))
        assert len(out) == n
        return out, through_json(pipe)


def tolist(batches):
    return [batch.tolist() if hasattr(batch, "tolist") else batch for batch in batches]


def ordered_pipelines():
    return {
        "items": lambda: Pipeline(range(13)).shuffle(seed=1).map(draw, concurrency=4),
        "batches": lambda: Pipeline(range(13)).shuffle(seed=1).map(double, concurrency=3).batch(3),
        "drop last": lambda: Pipeline(range(13)).batch(3, drop_last=True),
        "stream": lambda: Pipeline(lambda: iter(range(13))).shuffle(seed=1, buffer=4).map(draw).prefetch(3),
        "batches of batches": lambda: Pipeline(range(13)).batch(2, collate=list).batch(2, collate=list),
        "skipping": lambda: Pipeline(range(13)).map(lambda x: 1 // (x % 4), on_error="skip").batch(2),
        "random batches": lambda: (
            Pipeline(range(13)).batch(3).map(lambda b, rng: b + rng.integers(1000), concurrency=2)
        ),
    }


@pytest.mark.parametrize("kind", ordered_pipelines())
def test_resume_at_every_step(kind):
    make = ordered_pipelines()[kind]
    pipe = make()
    epochs = [tolist(pipe), tolist(pipe)]
    for n in range(len(epochs[0]) + 1):
        before, state = stop_after(make(), n)
        resumed = make()
        resumed.load_state_dict(state)
        assert tolist(before) + tolist(resumed) == epochs[0]
        assert tolist(resumed) == epochs[1], "the epoch after a resumed one"


@pytest.mark.parametrize("concurrency", [2, 16])
def test_resume_at_every_step_unordered(concurrency):
    def uneven(x):
        time.sleep((x * 7919 % 4) / 2000)
        return x

    def make():
        return Pipeline(range(12)).shuffle(seed=5).map(uneven, concurrency=concurrency, ordered=False)

    for n in range(13):
        before, state = stop_after(make(), n)
        resumed = make()
        resumed.load_state_dict(state)
        assert sorted(before + list(resumed)) == list(range(12))


@given(st.integers(0, 10), st.integers(0, 10), st.integers(1, 4), st.integers(1, 8))
@settings(deadline=None, max_examples=20)
def test_resume_twice_with_other_concurrency(first, second, one, other):
    def make(concurrency):
        return Pipeline(range(20)).shuffle(seed=2).map(draw, concurrency=concurrency)

    expected = list(make(1))
    a, state = stop_after(make(one), first)
    pipe = make(other)
    pipe.load_state_dict(state)
    b, state = stop_after(pipe, second)
    pipe = make(1)
    pipe.load_state_dict(state)
    assert a + b + list(pipe) == expected


def test_async_state_continues_in_the_sync_face():
    def make():
        return Pipeline(range(20)).shuffle(seed=2).map(draw, concurrency=4).batch(3, collate=list)

    async def start():
        pipe = make()
        async with pipe as batches:
            return [await anext(batches) for _ in range(3)], through_json(pipe)

    before, state = asyncio.run(start())
    resumed = make()
    resumed.load_state_dict(state)
    assert before + list(resumed) == list(make())


def test_an_error_leaves_an_exact_state():
    broken = True

    def fragile(x):
        if x == 7 and broken:
            raise OSError("disk gone")
        return x

    pipe = Pipeline(range(12)).map(fragile, concurrency=3).batch(2)
    out = []

    def consume():
        for batch in pipe:
            out.extend(batch.tolist())

    with pytest.raises(PipelineError, match="disk gone"):
        consume()
    assert out == [0, 1, 2, 3, 4, 5]
    pipe.load_state_dict(through_json(pipe))
    broken = False
    assert out + [x for batch in pipe for x in batch.tolist()] == list(range(12))


def test_leaving_early_begins_the_next_epoch():
    pipe = Pipeline(range(10)).shuffle(seed=1)
    reference = Pipeline(range(10)).shuffle(seed=1)
    epochs = [list(reference), list(reference)]
    for _ in pipe:
        break
    assert pipe.epoch == 0
    assert list(pipe) == epochs[1]
    assert pipe.epoch == 2


@pytest.mark.parametrize(
    "other",
    [
        Pipeline(range(11)).shuffle(seed=1).map(double).batch(2),
        Pipeline(range(10)).shuffle(seed=2).map(double).batch(2),
        Pipeline(range(10)).shuffle(seed=1).map(draw).batch(2),
        Pipeline(range(10)).shuffle(seed=1).map(double).batch(3),
        Pipeline(range(10)).shuffle(seed=1).map(double),
        Pipeline(lambda: range(10)).shuffle(seed=1).map(double).batch(2),
    ],
)
def test_the_state_of_another_pipeline_is_refused(other):
    pipe = Pipeline(range(10)).shuffle(seed=1).map(double).batch(2)
    with pytest.raises(PipelineError, match="another pipeline"):
        pipe.load_state_dict(through_json(other))
    assert len(list(pipe)) == 5


@pytest.mark.parametrize("state", [None, [], {}, {"version": 9, "epoch": 0, "delivered": [], "pipeline": []}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match=r"not a state|a state of version 9") as caught:
        Pipeline(range(3)).load_state_dict(state)
    assert isinstance(caught.value, owl.OwlError)


def edited(state, draw):
    """The state with one thing in it changed."""
    changed = json.loads(json.dumps(state))
    kind = draw.randrange(6)
    delivered = changed["delivered"]
    pair = draw.randrange(len(delivered))
    if kind == 0:
        delivered[pair][draw.randrange(2)] += draw.choice((-3, -1, 1, 2))
    elif kind == 1:
        del delivered[pair]
    elif kind == 2:
        changed["epoch"] += draw.choice((-1, 1))
    elif kind == 3:
        delivered.append([draw.randrange(100), draw.randrange(100)])
    elif kind == 4:
        changed[draw.choice(list(changed))] = draw.choice((None, 1, "x", [], {}, 1e300, [[0, 1 << 70]], [["a", "b"]]))
    else:
        changed["pipeline"] = [draw.choice(("seed 0", "seed 1"))]
    return changed


def test_a_state_that_was_changed_is_refused():
    pipe = Pipeline(list(range(40))).shuffle(seed=3).map(abs, concurrency=4, ordered=False)
    with pipe as items:
        for _ in range(13):
            next(items)
        state = through_json(pipe)
    draw = random.Random(5)
    refused = 0
    for _ in range(3000):
        changed = edited(state, draw)
        if changed == state:
            continue
        with pytest.raises(PipelineError):
            Pipeline(list(range(40))).shuffle(seed=3).map(abs, concurrency=4, ordered=False).load_state_dict(changed)
        refused += 1
    assert refused > 2500


def test_a_running_pipeline_loads_no_state():
    pipe = Pipeline(range(3))
    with pipe as batches:
        with pytest.raises(PipelineError, match="running"):
            pipe.load_state_dict(pipe.state_dict())
        assert list(batches) == [0, 1, 2]


@given(st.lists(st.integers(0, 40)), st.integers(0, 45))
def test_ledger_is_a_set(positions, length):
    ledger = Ledger()
    for position in positions:
        ledger.add(position)
    assert [x for x in range(60) if x in ledger] == sorted(set(positions))
    assert len(ledger) == len(set(positions))
    missing = [x for start, stop in ledger.gaps(length) for x in range(start, stop)]
    assert missing == sorted(set(range(length)) - set(positions))
    ranges = ledger.ranges()
    assert all(a[1] < b[0] for a, b in pairwise(ranges))
