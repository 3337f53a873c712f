"""from_numpy for a device with a memory of its own: large copies are shared out to the CPU's threads."""

import threading

import numpy as np
import pytest

import owl
import owl.testing
from owl import _runtime

BORDER = 4 << 20
PIECE = 1 << 20


@pytest.fixture
def remote():
    owl.wait_for_all()  # no thread is busy with what an earlier test has left
    return owl.testing.remote_device()


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    was = owl.get_num_threads()
    owl.set_num_threads(request.param)
    yield request.param
    owl.set_num_threads(was)


def numbers(count: int, dtype=np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(1 << 20), 1 << 20, count).astype(dtype)


def copied(x: np.ndarray, device: owl.Device) -> np.ndarray:
    with device:
        return owl.from_numpy(x, dtype=x.dtype).to_numpy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [BORDER - 8, BORDER, BORDER + 8, BORDER + PIECE - 8, 7 * PIECE + 24])
def test_every_byte_arrives_and_the_border_is_by_size(remote, threads, size, dtype):
    x = numbers(size // np.dtype(dtype).itemsize, dtype)
    before = _runtime.host_copies()
    assert copied(x, remote).tobytes() == x.tobytes()
    assert _runtime.host_copies() - before == (size >= BORDER and threads > 1)


def test_the_array_may_be_changed_at_once(remote, threads):
    x = numbers(4 * BORDER // 4)
    wanted = x.tobytes()
    with remote:
        y = owl.from_numpy(x)
    x[:] = 0
    assert y.to_numpy().tobytes() == wanted


def test_copies_for_the_hosts_own_memory_are_not_shared_out(threads):
    x = numbers(2 * BORDER // 4)
    before = _runtime.host_copies()
    with owl.create_cpu_device():
        assert owl.from_numpy(x).to_numpy().tobytes() == x.tobytes()
    assert _runtime.host_copies() == before


def test_several_threads_copy_at_once(remote, threads):
    arrays = [numbers(2 * BORDER // 4, seed=k) for k in range(4)]
    wrong = []

    def copy(x):
        wrong.extend(x for _ in range(4) if copied(x, remote).tobytes() != x.tobytes())

    workers = [threading.Thread(target=copy, args=(x,)) for x in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert not wrong


def test_a_copy_while_the_team_computes(remote, threads):
    x = numbers(2 * BORDER // 4)
    with owl.create_cpu_device():
        product = owl.ones([600, 600])
        for _ in range(8):
            product = product * owl.full([600, 600], 1 / 600)
        product.start_eval()
    for _ in range(3):
        assert copied(x, remote).tobytes() == x.tobytes()
    np.testing.assert_allclose(product.to_numpy(), 1, rtol=1e-4)


def test_memory_that_is_refused(remote, threads):
    x = numbers(2 * BORDER // 4)
    limit = owl.testing.memory_limit(BORDER, beyond_current=True, device=owl.create_cpu_device())
    with remote, limit, pytest.raises(owl.OutOfMemoryError):
        owl.from_numpy(x)
    assert copied(x, remote).tobytes() == x.tobytes()


FORKS = """
import os, threading
import numpy as np
import owl, owl.testing

owl.set_num_threads(4)
remote, cpu = owl.testing.remote_device(), owl.create_cpu_device()
x = np.arange(6 << 20, dtype=np.float32)
over = False

def copy():
    while not over:
        with remote:
            owl.from_numpy(x).wait_for_eval()

worker = threading.Thread(target=copy)
worker.start()
for _ in range(12):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            try:
                with remote:
                    owl.from_numpy(x).to_numpy()
            except owl.OwlError:
                pass
            with cpu:
                assert (owl.from_numpy(x) + 1).to_numpy()[-1] == x[-1] + 1
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
over = True
worker.join()
with remote:
    assert owl.from_numpy(x).to_numpy().tobytes() == x.tobytes()
"""


def test_a_fork_while_a_copy_is_shared_out(python):
    done = python(FORKS, timeout=120)
    assert done.returncode == 0, done.stderr
