"""What is ordered: a stream's operations, and those that events and waits of the host put in order."""

import numpy as np

from tests.gpu.contract.driving import NOT_READY, SUCCESS, copying, fresh

COUNT = 300
ONES, TWOS = np.ones(COUNT, np.float32), np.full(COUNT, 2, np.float32)


def test_a_stream_runs_its_operations_in_their_order(driver):
    stream, function = driver.stream(), driver.kernel("copy_f32_f32_i32")
    x, y = driver.on_device(ONES, stream), driver.on_device(ONES, stream)
    for value in range(5):
        assert driver.upload(x, np.full(COUNT, value, np.float32), stream) == SUCCESS
        assert driver.launch(function, copying(x, y, COUNT), stream, grid=2) == SUCCESS
    assert np.array_equal(driver.numbers(y, COUNT, stream), np.full(COUNT, 4))


def test_an_event_orders_two_streams(make):
    for seed in range(10):
        driver = make(seed=seed)
        first, second, event = driver.stream(), driver.stream(), driver.event()
        x = driver.on_device(ONES, first)
        driver.ok("cuEventRecord", event, first)
        driver.ok("cuStreamWaitEvent", second, event, 0)
        assert driver.upload(x, TWOS, second) == SUCCESS
        driver.ok("cuCtxSynchronize")
        assert np.array_equal(driver.numbers(x, COUNT, second), TWOS)


def test_a_wait_is_for_the_last_record_before_it(lazy):
    first, second, event = lazy.stream(), lazy.stream(), lazy.event()
    lazy.ok("cuStreamWaitEvent", second, event, 0)  # never recorded: nothing to wait for
    x = lazy.on_device(ONES, second)
    lazy.ok("cuEventRecord", event, second)
    lazy.ok("cuStreamWaitEvent", first, event, 0)
    lazy.ok("cuEventRecord", event, first)  # the wait is still for the one before
    assert np.array_equal(lazy.numbers(x, COUNT, first), ONES)


def test_an_event_that_was_never_recorded_is_done(driver):
    event = driver.event()
    assert driver.call("cuEventQuery", event) == SUCCESS
    assert driver.call("cuEventSynchronize", event) == SUCCESS


def test_who_asks_often_enough_is_told_that_it_is_done(driver):
    stream, event = driver.stream(), driver.event()
    x = driver.on_device(ONES, stream)
    for _ in range(20):
        assert driver.upload(x, ONES, stream) == SUCCESS
    driver.ok("cuEventRecord", event, stream)
    answers = []
    while not answers or answers[-1] == NOT_READY:
        answers.append(driver.call("cuEventQuery", event))
    assert answers[-1] == SUCCESS
    assert driver.call("cuStreamQuery", stream) == SUCCESS


def test_nothing_runs_before_it_must_where_the_driver_is_lazy(lazy):
    stream, event = lazy.stream(), lazy.event()
    source, target = lazy.pinned(COUNT), lazy.pinned(COUNT)
    source[:], target[:] = 1, 0
    x = lazy.memory(source.nbytes)
    assert lazy.upload(x, source, stream) == SUCCESS
    assert lazy.download(target, x, stream) == SUCCESS
    lazy.ok("cuEventRecord", event, stream)
    assert not target.any()
    lazy.ok("cuEventSynchronize", event)
    assert np.array_equal(target, ONES)


def test_the_context_waits_for_all_its_streams(driver):
    targets = []
    for value in range(4):
        stream = driver.stream()
        targets.append(driver.pinned(COUNT))
        x = driver.on_device(np.full(COUNT, value, np.float32), stream)
        assert driver.download(targets[-1], x, stream) == SUCCESS
    driver.ok("cuCtxSynchronize")
    assert [target[-1] for target in targets] == [0, 1, 2, 3]


def test_what_is_in_a_stream_runs_though_the_stream_is_gone(driver):
    stream, event, target = driver.stream(), driver.event(), driver.pinned(COUNT)
    assert driver.download(target, driver.on_device(ONES, stream), stream) == SUCCESS
    driver.ok("cuEventRecord", event, stream)
    driver.ok("cuStreamDestroy_v2", stream)
    driver.ok("cuEventSynchronize", event)
    assert np.array_equal(target, ONES)


def last_of_eight_without_an_order(driver):
    x = driver.on_device(np.zeros(1, np.float32), driver.stream())
    driver.ok("cuCtxSynchronize")
    for value in range(8):
        assert driver.upload(x, np.full(1, value, np.float32), driver.stream()) == SUCCESS
    driver.ok("cuCtxSynchronize")
    return driver.numbers(x, 1, driver.stream())[0]


def test_a_lazy_driver_has_an_order_for_each_seed(path, tmp_path):
    def by_seeds():
        drivers = [fresh(path, tmp_path).started(lazy=True, seed=seed) for seed in range(12)]
        return [last_of_eight_without_an_order(driver) for driver in drivers]

    last = by_seeds()
    assert last == by_seeds()
    assert len(set(last)) > 1
