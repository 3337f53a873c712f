"""Where values lie: nothing is overwritten that is read later. Lifetimes are found here, apart from the planner."""

from hypothesis import given
from hypothesis import strategies as st

LINE = 64
ITEM = 4  # bytes of a float32

# Of each operation: a name, how far back its operands lie, and whether its name is kept.
operations = st.tuples(
    st.sampled_from(["add", "mul", "tanh", "neg", "matmul"]),
    st.integers(1, 7),
    st.integers(1, 7),
    st.sampled_from([False, False, False, False, True]),
)


def play(world, program, size):
    """Square matrices, so that any operation may follow any other. Returns handles of all."""
    shape = [size, size]
    inputs = [world.leaf(shape), world.leaf(shape), world.leaf(shape)]
    values = [*inputs]
    for name, a, b, _ in program:
        operands = [values[-min(a, len(values))]]
        if name in ("add", "mul", "matmul"):
            operands.append(values[-min(b, len(values))])
        values.append(world.record(name, shape, operands))
    return inputs, values[3:]


def kept_of(values, program):
    return [*(value for value, step in zip(values, program) if step[3]), values[-1]]


def spans(placed, bytes, nodes):
    """(first step, last step, begin, end) of each value that lies in the arena."""
    made, last = {}, {}
    for at, step in enumerate(placed["steps"]):
        for node in [*step["members"], *step["sums"]]:
            made[node] = at
        for node in step["reads"]:
            if node >= 0:
                last[node] = at
    for node in range(nodes):
        kind, offset = placed["values"].get(node, (None, 0))
        if kind == "arena":
            yield made[node], last.get(node, made[node]), offset, offset + bytes


@given(program=st.lists(operations, min_size=1, max_size=30), size=st.integers(1, 40), fuse=st.booleans())
def test_values_that_live_at_the_same_time_share_no_byte(native, program, size, fuse):
    world = native.World(cut=False)
    world.stream()
    inputs, values = play(world, program, size)
    # Only what is kept has a handle when the window is compiled, so that the rest may lie in the arena.
    key = world.key(values, keep=kept_of(values, program))
    placed = world.place(key, fuse=fuse)
    lying = list(spans(placed, size * size * ITEM, key.size))
    assert all(offset % LINE == 0 for _, _, offset, _ in lying)
    assert all(end <= placed["arena_bytes"] + LINE for _, _, _, end in lying)
    for at, (first, last, begin, end) in enumerate(lying):
        for other_first, other_last, other_begin, other_end in lying[at + 1 :]:
            # A step may write over the data of a value that it reads for the last time, element by element.
            together = max(first, other_first) < min(last, other_last)
            assert not (together and max(begin, other_begin) < min(end, other_end))
    assert len(inputs) == 3


@given(program=st.lists(operations, min_size=1, max_size=16), size=st.integers(1, 12), fuse=st.booleans())
def test_an_input_is_overwritten_only_if_it_is_ours_and_after_its_last_use(native, program, size, fuse):
    world = native.World(cut=False)
    world.stream()
    inputs, values = play(world, program, size)
    del inputs[0]  # it may be written over
    key = world.key(values, keep=kept_of(values, program))
    placed = world.place(key, fuse=fuse)
    last_use = {}
    made = {}
    for at, step in enumerate(placed["steps"]):
        made.update(dict.fromkeys([*step["members"], *step["sums"]], at))
        last_use.update({~node: at for node in step["reads"] if node < 0})
    donated = [output for output in placed["outputs"] if output["donated"] >= 0]
    assert len({output["donated"] for output in donated}) == len(donated)
    for output in donated:
        assert placed["donatable"][output["donated"]]
        assert made[output["node"]] == last_use[output["donated"]]
    assert len(inputs) == 2
