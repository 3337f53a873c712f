"""The canonical form of a window: equal for equal programs, different for all that a plan depends on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

# Of each operation: which of the three operations, and how far back it reads.
programs = st.lists(
    st.tuples(st.sampled_from(["add", "mul", "maximum"]), st.integers(1, 6), st.integers(1, 6)), min_size=2, max_size=12
)


def play(world, program, *, shape=(6, 2000)):
    """A program over two inputs; handles of all its values."""
    values = [world.leaf(shape), world.leaf(shape)]
    for name, a, b in program:
        values.append(world.record(name, shape, [values[-min(a, len(values))], values[-min(b, len(values))]]))
    return values[2:]


@given(program=programs)
def test_a_program_that_is_recorded_again_has_the_same_key(native, program):
    world = native.World(cut=False)
    world.stream()
    first, second = play(world, program), play(world, program)
    a, b = world.key(first), world.key(second)
    assert a.clean
    assert b.clean
    assert a.hash == b.hash
    assert a == b


@given(program=programs, at=st.integers(0, 11))
def test_another_operation_is_another_key(native, program, at):
    at %= len(program)
    other = [*program]
    other[at] = ("sub", *program[at][1:])
    world = native.World(cut=False)
    world.stream()
    a, b = world.key(play(world, program)), world.key(play(world, other))
    assert a.hash != b.hash
    assert a != b


@given(program=programs, shape=st.sampled_from([(6, 2001), (7, 2000), (12000,), (2000, 6), (6, 2000, 1)]))
def test_another_shape_is_another_key(native, program, shape):
    world = native.World(cut=False)
    world.stream()
    a, b = world.key(play(world, program)), world.key(play(world, program, shape=shape))
    assert a.hash != b.hash
    assert a != b


def test_a_value_that_can_no_longer_be_seen_is_another_key(native):
    world = native.World(cut=False)
    world.stream()
    x = world.leaf([8])

    def chain():
        y = world.record("add", [8], [x, x])
        return [y, world.record("tanh", [8], [y])]

    a, b, c = chain(), chain(), chain()
    seen, again = world.key(a), world.key(b)
    unseen = world.key(c, keep=[c[1]])
    assert seen == again
    assert seen != unseen


def test_a_donatable_input_is_another_key(native):
    world = native.World(cut=False)
    world.stream()
    x, y = world.leaf([8]), world.leaf([8])
    of_x, of_y = world.record("neg", [8], [x]), world.record("neg", [8], [y])
    assert world.key([of_x]) == world.key([of_y])
    del y
    assert world.key([of_x]) != world.key([of_y])


def test_scalars_are_no_part_of_a_key(native):
    world = native.World(cut=False)
    world.stream()
    x = world.leaf([8])
    twice, thrice = world.record("mul", [8], [x], scalar=2.0), world.record("mul", [8], [x], scalar=3.0)
    assert world.key([twice]) == world.key([thrice])
    times_itself = world.record("mul", [8], [x, x])
    assert world.key([twice]) != world.key([times_itself])


@pytest.mark.parametrize("fault", ["twice", "incomplete", "two devices", "done"])
def test_a_window_that_cannot_be_submitted_as_it_is_says_so(native, fault):
    world = native.World(devices=2, cut=False)
    world.stream()
    x = world.leaf([8])
    y = world.record("neg", [8], [x])
    z = world.record("tanh", [8], [y])
    elsewhere = world.record("tanh", [8], [world.leaf([8], device=1)], device=1)
    assert world.key([y, z]).clean
    if fault == "done":
        world.request([y])
        world.finish()
    window = {"twice": [y, z, y], "incomplete": [z], "two devices": [y, elsewhere], "done": [y, z]}[fault]
    assert not world.key(window).clean
