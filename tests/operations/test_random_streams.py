"""Whose numbers are drawn depends on who draws, and never on when."""

import asyncio
import contextvars
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import owl

SEED = 7


def draw(count=1):
    """The next numbers of the thread or task that calls."""
    return [owl.randn([3]).to_numpy().tolist() for _ in range(count)]


def distinct(found):
    return len({repr(numbers) for numbers in found}) == len(found)


def test_the_main_thread_draws_what_it_always_drew():
    owl.seed(3)
    assert owl.randn([2]).to_numpy().tolist() == [0.4428253769874573, -0.07655542343854904]
    assert owl.randu([2]).to_numpy().tolist() == [0.9262130856513977, 0.7223381996154785]


async def in_order(order, n, name=None, nested=False):
    """What n tasks, created in their order, draw when they go on in another one."""
    gates = [asyncio.Event() for _ in range(n)]
    found = [None] * n

    async def work(at):
        await gates[at].wait()
        found[at] = draw(2)
        if nested:
            found[at] += await asyncio.create_task(work_inside())

    async def work_inside():
        return draw(1)

    tasks = [asyncio.create_task(work(at), name=None if name is None else f"{name} {at}") for at in range(n)]
    for at in order:
        gates[at].set()
        await tasks[at]
    return [draw(1), *found]


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
@pytest.mark.parametrize("name", [None, "worker"])
def test_tasks_draw_the_same_in_any_order(name, runner):
    run = asyncio.run if runner == "asyncio" else pytest.importorskip("uvloop").run
    generator = random.Random(1)
    results = []
    for _ in range(4):
        order = list(range(6))
        generator.shuffle(order)
        owl.seed(SEED)
        results.append(run(in_order(order, 6, name)))
    assert results[1:] == results[:-1]
    assert distinct(results[0])


def test_a_loop_after_another_draws_other_numbers_and_the_same_after_a_seed():
    async def main():
        return await asyncio.gather(*(asyncio.create_task(step()) for _ in range(3)))

    async def step():
        return draw(1)

    def three():
        owl.seed(SEED)
        return [asyncio.run(main()) for _ in range(3)]

    first = three()
    assert first == three()
    assert distinct([numbers for found in first for numbers in found])
    again = []
    for _ in range(3):
        owl.seed(1)
        again.append(asyncio.run(main()))
    assert again[0] == again[1] == again[2]


def from_threads(order, n, names=None):
    gates = [threading.Event() for _ in range(n)]
    found = [None] * n

    def work(at):
        gates[at].wait(60)
        found[at] = draw(2)

    threads = [threading.Thread(target=work, args=(at,), name=names and names[at]) for at in range(n)]
    for thread in threads:
        thread.start()
    for at in order:
        gates[at].set()
        threads[at].join(60)
    return found


@pytest.mark.parametrize("names", [None, ["a", "b", "c", "d"]])
def test_threads_draw_the_same_in_any_order(names):
    results = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]):
        owl.seed(SEED)
        results.append(from_threads(order, 4, names))
    assert results[0] == results[1] == results[2]
    assert distinct([*results[0], draw(2)])


def test_threads_of_one_name_continue_one_stream():
    owl.seed(SEED)
    first, second = (from_threads([0], 1, ["same"])[0] for _ in range(2))
    assert first != second
    owl.seed(SEED)
    assert from_threads([0], 1, ["same"])[0] == first


def test_loops_in_threads_draw_by_their_thread():
    async def main():
        return await asyncio.gather(*(asyncio.create_task(asyncio.sleep(0, draw(1))) for _ in range(2)))

    def both(order):
        owl.seed(SEED)
        gates, found = [threading.Event() for _ in range(2)], [None, None]

        def work(at):
            gates[at].wait(60)
            found[at] = asyncio.run(main())

        threads = [threading.Thread(target=work, args=(at,)) for at in range(2)]
        for thread in threads:
            thread.start()
        for at in order:
            gates[at].set()
            threads[at].join(60)
        return found

    assert both([0, 1]) == both([1, 0])


def test_a_name_draws_from_a_stream_of_its_own():
    def named(*names):
        if not names:
            return draw(1)
        with owl.random_stream(names[0]):
            return named(*names[1:])

    owl.seed(SEED)
    paths = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("a", "a")]
    found = [named(*path) for path in paths]
    assert distinct(found)
    owl.seed(SEED)
    assert [named(*path) for path in reversed(paths)] == found[::-1]
    assert named("a") != found[1]  # it goes on


def test_a_name_leaves_the_stream_around_it_alone():
    owl.seed(SEED)
    plain = draw(2)
    owl.seed(SEED)
    before = draw(1)
    with owl.random_stream("aside"):
        draw(5)
    assert before + draw(1) == plain


def test_a_name_in_a_task_is_another_than_outside_and_may_be_entered_async():
    async def named():
        async with owl.random_stream("x"):
            return draw(1)

    async def main():
        return await asyncio.gather(named(), named())

    owl.seed(SEED)
    with owl.random_stream("x"):
        outside = draw(1)
    assert distinct([outside, *asyncio.run(main())])


def test_tasks_started_inside_a_name_draw_by_name_and_task():
    def run(name, order):
        owl.seed(SEED)

        async def main():
            with owl.random_stream(name):
                return await in_order(order, 3)

        return asyncio.run(main())

    assert run("a", [0, 1, 2]) == run("a", [2, 0, 1])
    assert distinct(run("a", [0, 1, 2]) + run("b", [0, 1, 2]))

    def around(order):
        owl.seed(SEED)
        with owl.random_stream("around"):
            return asyncio.run(in_order(order, 3))

    assert around([0, 1, 2]) == around([1, 2, 0])


def test_a_function_in_to_thread_draws_for_its_task():
    async def work(in_thread):
        owl.ones([1])  # the task is known from its first recording on
        await asyncio.sleep(0)
        return await asyncio.to_thread(draw, 2) if in_thread else draw(2)

    async def main(in_thread):
        return await asyncio.gather(*(work(in_thread) for _ in range(4)))

    results = []
    for in_thread in (False, True, True):
        owl.seed(SEED)
        results.append(asyncio.run(main(in_thread)))
    assert results[0] == results[1] == results[2]


def test_a_thread_in_a_copy_of_a_context_with_a_name_goes_on_with_it():
    owl.seed(SEED)
    with owl.random_stream("x"):
        plain = draw(4)
    owl.seed(SEED)
    with owl.random_stream("x"):
        found = draw(1)
        with ThreadPoolExecutor(1) as pool:
            found += pool.submit(contextvars.copy_context().run, draw, 1).result(60)
        found += draw(2)
    assert found == plain


def test_the_work_of_a_pool_draws_by_name_whichever_worker_has_it():
    def work(at):
        with owl.random_stream(f"item {at}"):
            return draw(1)

    def named(workers, prefix=""):
        owl.seed(SEED)
        with ThreadPoolExecutor(workers, prefix) as pool:
            return list(pool.map(work, range(8)))

    assert named(1) == named(4) == named(2, "mine")
    assert distinct(named(3))


def test_workers_of_pools_share_one_stream_and_no_numbers():
    owl.seed(SEED)
    with ThreadPoolExecutor(3) as one, ThreadPoolExecutor(2) as other:
        found = [future.result(60) for future in [pool.submit(draw, 1) for pool in (one, other) for _ in range(10)]]
    assert distinct([*found, draw(1)])


def test_a_stream_around_the_work_of_a_pool_goes_with_a_copy_of_the_context():
    def work(at):
        with owl.random_stream(f"item {at}"):
            return draw(1)

    def inside(name):
        owl.seed(SEED)
        with owl.random_stream(name), ThreadPoolExecutor(3) as pool:
            contexts = [contextvars.copy_context() for _ in range(4)]
            return list(pool.map(lambda at: contexts[at].run(work, at), range(4)))

    assert inside("a") == inside("a")
    assert distinct(inside("a") + inside("b"))


def test_a_seed_begins_every_stream_anew():
    async def main():
        owl.seed(SEED)
        first = draw(2)
        with owl.random_stream("x"):
            named = draw(1)
            owl.seed(SEED)
            assert draw(1) == named
        assert draw(2) == first

    asyncio.run(main())


def test_many_tasks_draw_and_their_counts_go_with_them():
    async def main():
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        found = set()
        for _ in range(2000):
            numbers = await asyncio.create_task(one())
            found.add(numbers)
        await asyncio.gather(*tasks)
        return found

    async def one():
        return tuple(owl.randn([2]).to_numpy().tolist())

    assert len(asyncio.run(main())) == 2000


@pytest.mark.parametrize("name", [None, 3, b"x"])
def test_a_name_is_a_str(name):
    with pytest.raises(owl.OwlTypeError, match="the name is a str"):
        owl.random_stream(name)


def test_numbers_of_streams_are_uncorrelated():
    owl.seed(SEED)
    rows = []
    for at in range(20):
        with owl.random_stream(f"{at}"):
            rows.append(owl.randn([10_000]).to_numpy())
    correlation = np.corrcoef(rows) - np.eye(20)
    assert np.abs(correlation).max() < 5 / np.sqrt(10_000)
