"""Runs are issued before those ahead of them have ended, and recording waits when there are too many."""


def test_runs_are_issued_ahead(program):
    program(
        """
    import time
    with gpu:
        x = owl.zeros([1 << 20]) + 1  # tens of milliseconds for each kernel
        x.wait_for_eval()
        launched = control.calls("cuLaunchKernel")
        steps = []
        for k in range(6):
            x = ele.tanh(x) + k
            x.eval()
            steps.append(x)
        until = time.monotonic() + 30
        while control.calls("cuLaunchKernel") < launched + 6 and time.monotonic() < until:
            time.sleep(0.001)
        assert steps[-1].state == "submitted", [step.state for step in steps]
        steps[-1].wait_for_eval()
        assert all(step.state == "done" for step in steps)
    """,
        arguments="",
    )


def test_recording_waits_for_a_device_that_is_behind(program):
    program(
        """
    with gpu:
        x = owl.zeros([1 << 16]) + 1
        x.wait_for_eval()
        most = 0
        for k in range(60):
            x = ele.tanh(x) + k
            x.eval()
            most = max(most, owl.testing.counters()["runs"])
        assert 3 < most <= 20, most
        x.wait_for_eval()
    """,
        arguments="",
    )


def test_an_upload_overtakes_computing(program):
    program(
        """
    with gpu:
        x = owl.zeros([1 << 20]) + 1
        x.wait_for_eval()
        for k in range(4):
            x = ele.tanh(x) + k
            x.eval()
        y = owl.from_numpy(np.full(100, 3, np.float32))
        y.wait_for_eval()
        assert (y.to_numpy() == 3).all()
        assert x.state == "submitted"
        x.wait_for_eval()
    """,
        arguments="",
    )
