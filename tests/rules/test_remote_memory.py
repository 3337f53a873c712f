"""A device whose memory the host cannot read: values cross by transfers alone, and what follows an address faults."""

import signal
import time

import numpy as np
import pytest

import owl
import owl.testing
from owl import _runtime, elewise
from owl._runtime import evaluate_together
from tests.support.processes import run


@pytest.fixture(scope="module")
def remote():
    return owl.testing.remote_device()


@pytest.fixture(scope="module")
def cpu():
    return owl.create_cpu_device()


def faulted(done):
    """Whether the process was ended by a bad address; a sanitizer tells of it in its own way."""
    return done.returncode == -signal.SIGSEGV or (done.returncode and "SEGV" in done.stderr)


def test_every_call_makes_a_device_and_names_count():
    made = run("import owl.testing as t; print([t.remote_device().name for _ in range(3)])")
    assert made.stdout.strip() == "['remote:0', 'remote:1', 'remote:2']"


def test_the_host_faults_where_it_follows_an_address_of_a_remote_value():
    done = run(
        "import ctypes, owl, owl.testing\n"
        "from owl import _runtime\n"
        "with owl.testing.remote_device():\n"
        "    x = owl.ones([4])\n"
        "print(x.to_numpy().tolist(), flush=True)\n"
        "ctypes.string_at(_runtime.buffer_address(x), 4)\n"
    )
    assert done.stdout.strip() == "[1.0, 1.0, 1.0, 1.0]"
    assert faulted(done)


def test_a_kernel_of_the_cpu_that_is_given_a_remote_address_faults():
    """Planted: a view of the host's on what lies remotely, borrowed by a CPU device."""
    done = run(
        "import ctypes, numpy as np, owl, owl.testing\n"
        "from owl import _runtime\n"
        "cpu = owl.create_cpu_device()\n"
        "with owl.testing.remote_device():\n"
        "    x = owl.ones([64])\n"
        "view = np.ctypeslib.as_array((ctypes.c_float * 64).from_address(_runtime.buffer_address(x)))\n"
        "with cpu:\n"
        "    y = owl.from_numpy(view, copy=False)\n"
        "    (y + 1).wait_for_eval()\n"
    )
    assert faulted(done)


@pytest.mark.cpu_kernels("no copy goes from a remote device to a GPU")
def test_values_go_there_and_back(remote, cpu):
    x = np.random.default_rng(1).standard_normal((37, 53)).astype(np.float32)
    with cpu:
        here = owl.from_numpy(x)
    there = here.to(remote)
    back = (elewise.relu(there) * 2.0).to(cpu)
    assert (there.device, back.device) == (remote, cpu)
    with cpu:
        assert np.array_equal((back + 1.0).to_numpy(), np.maximum(x, 0) * 2 + 1)


def test_values_go_from_one_remote_device_to_another(remote):
    other = owl.testing.remote_device()
    with remote:
        x = owl.from_numpy(np.arange(12, dtype=np.float32))
    with other:
        assert np.array_equal((x * 3.0).to_numpy(), np.arange(12, dtype=np.float32) * 3)


def test_the_same_program_is_another_plan_where_its_inputs_lie_elsewhere(remote, cpu):
    """A transfer from the host copies; from another remote device too; within the host's memory it is no copy."""
    second = owl.create_cpu_device()
    x = np.arange(6, dtype=np.float32)
    for source, target in ((cpu, second), (cpu, remote), (remote, second), (cpu, second), (cpu, remote)):
        with source:
            value = owl.from_numpy(x)
        with target:
            assert np.array_equal((value + 1.0).to_numpy(), x + 1)


def test_weights_stay_where_they_are_though_steps_are_issued_ahead(remote):
    """Inputs are unpinned when a run is issued: the next step writes over the weights of this one."""
    with remote:
        w = owl.from_numpy(np.ones((64, 64), np.float32))
        g = owl.from_numpy(np.full((64, 64), 0.5, np.float32))
        for _ in range(50):
            w -= 0.1 * g
        w.wait_for_eval()
        owl.wait_for_all()
        before = owl.testing.memory_info(remote)
        places = set()
        for _ in range(50):
            w -= 0.1 * g
            w.start_eval()
            places.add(_runtime.buffer_address(w))
        assert owl.testing.memory_info(remote)["peak"] == before["peak"]
    assert len(places) == 1


def test_an_upload_that_is_refused_is_a_failure_of_the_value(remote):
    with remote, owl.testing.memory_limit(1 << 16, beyond_current=True):
        x = owl.from_numpy(np.ones(1 << 16, np.float32))
        with pytest.raises(owl.OutOfMemoryError, match="262144 bytes were asked for"):
            (x + 1.0).to_numpy()
        assert float(owl.ones([4]).sum()) == 4


def test_a_limit_is_of_one_device(remote, cpu):
    with owl.testing.memory_limit(1 << 16, beyond_current=True, device=remote):
        with cpu:
            assert (owl.ones([1 << 16]) + 1.0).to_numpy().size == 1 << 16
        assert owl.testing.memory_info(remote)["limit"] > 0
        assert owl.testing.memory_info(cpu)["limit"] == 0


def test_a_borrowed_array_is_read_where_it_lies_until_it_is_there(remote):
    x = np.arange(1 << 12, dtype=np.float32)
    with remote:
        there = owl.from_numpy(x, copy=False)
        there.wait_for_eval()
        x[:] = 0
        assert float(there.sum()) == sum(range(1 << 12))


def test_a_promise_that_is_kept_is_uploaded(remote):
    with remote:
        promise = owl.testing.promise([3])
        early = promise.array * 2.0
        early.start_eval()
        promise.fulfil([1, 2, 3])
        late = promise.array + 1.0
    assert early.to_numpy().tolist() == [2, 4, 6]
    assert late.to_numpy().tolist() == [2, 3, 4]
    assert promise.array.count_zero() == 0


def busy(remote):
    """Much work for the device's stream: what is issued after it is computed late."""
    with remote:
        x = owl.ones([1500, 1500])
        x = x * x
        for _ in range(3):
            x = x * x
        x.start_eval()
    return x


def let_it_be_issued():
    """Most likely the device has begun the last run then, and its stream still computes what came before."""
    time.sleep(0.02)


def test_a_dropped_transfer_to_the_host_writes_to_memory_of_its_own(remote, cpu):
    with remote:
        x = owl.ones([70_000]) * 3
        x.wait_for_eval()
    work = busy(remote)
    y = x.to(cpu)
    y.start_eval()
    let_it_be_issued()
    del y
    with cpu:
        zeros = [owl.from_numpy(np.zeros(70_000, np.float32)) for _ in range(4)]
    work.wait_for_eval()
    owl.wait_for_all()
    assert not any(zero.to_numpy().any() for zero in zeros)


def test_values_of_the_host_are_kept_until_a_plan_that_goes_value_by_value_has_read_them(remote, cpu):
    with remote:
        with owl.testing.faults("tanh"):
            failed = elewise.tanh(owl.ones([4]))
            failed.start_eval()
            owl.wait_for_all()
        kept = owl.ones([4])
    with cpu:
        x = owl.ones([70_000]) * 3
        x.wait_for_eval()
    work = busy(remote)
    with remote:
        y = x.to(remote) + 1
        z = failed + kept
    del x
    together = evaluate_together([y, z])
    let_it_be_issued()
    with cpu:
        zeros = [owl.from_numpy(np.zeros(70_000, np.float32)) for _ in range(4)]
    work.wait_for_eval()
    assert (y.to_numpy() == 4).all()
    with pytest.raises(owl.OwlError):
        z.to_numpy()
    del together, zeros
