"""Every wait is needed: without it the stand-in finds operations that nothing orders.

The waits are counted, and each is left out in turn. A lazy driver does everything as late as the waits allow.
"""


def test_each_wait_of_the_host(program):
    found = program(
        """
    other, cpu = owl.create_gpu_device(0), owl.create_cpu_device()

    def round_trip(k):
        with gpu:
            unused = owl.from_numpy(np.full((8, 8), -k, np.float32))
            unused.wait_for_eval()  # its pinned memory is written again by the next line
            x = owl.from_numpy(np.full((8, 8), k, np.float32))
            y = x * 2 + 1
            y.to_numpy()
            owl.wait_for_all()
            y.to(other).wait_for_eval()
            y.to(cpu).wait_for_eval()

    for k in range(3):
        round_trip(k)
    assert not control.problems()
    before = control.waits()
    round_trip(9)
    count = control.waits() - before
    assert count >= 6, count
    missed = []
    for nth in range(1, count + 1):
        for attempt in range(5):  # two threads wait, so the same number is not always the same wait
            control.skip_wait(nth)
            for k in range(3):
                round_trip(k)
            if control.problems():
                break
        else:
            missed.append(nth)
    # The end of the second upload comes before the end of what is computed from it.
    print(count, len(missed))
    """,
        arguments="checked=True, lazy=True",
        timeout=120,
    )
    count, missed = map(int, found.split())
    assert missed <= 1 < count


def test_computing_waits_for_copies(program):
    program(
        """
    for k in range(2000):  # until a copy is still under way when computing comes to it
        control.skip_wait(1, "cuStreamWaitEvent")
        with gpu:
            x = owl.from_numpy(np.full((300, 300), k, np.float32))
            y = x + 1
            y.wait_for_eval()
        if control.problems():  # none if the host saw the copy's end just before the launch
            break
    else:
        raise AssertionError("computing never waited for a copy that it needed")
    """,
        arguments="checked=True, lazy=True",
    )


def test_memory_goes_back_when_nothing_uses_it(program):
    # The memory is too small for what a run leaves behind and the next one needs: blocks go back while runs are under
    # way.
    program(
        """
    found = 0
    for k in range(60):
        control.skip_wait(1, "cuStreamSynchronize")
        with gpu:
            for rows in (512, 513 + k, 700 + k):
                evaluation = (ele.tanh(owl.zeros([rows, 512]) + k) * 2).eval()
        owl.testing.trim_memory(gpu)
        control.skip_wait(0)
        found += bool(control.problems())
        owl.wait_for_all()
        control.reset_problems()
    assert found
    """,
        arguments="checked=True, lazy=True, memory=16 << 20",
    )
