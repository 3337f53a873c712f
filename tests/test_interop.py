"""Memory shared with other libraries: exports are never written again, borrowed memory lives until its last reader."""

import gc
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import owl
from tests.agreement import DTYPES
from tests.support.devices import new_device
from tests.support.processes import ROOT

pytestmark = pytest.mark.cpu("memory of the host is shared")


def address(view):
    return view.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 0, 5), (2, 3, 4, 5)])
def test_numpy_reads_the_values_own_memory(shape, dtype, rng):
    given = rng.standard_normal(shape).astype(dtype)
    x = owl.from_numpy(given, dtype=dtype) * 2
    first, second = np.from_dlpack(x), np.from_dlpack(x)
    assert (first.shape, first.dtype) == (shape, dtype)
    np.testing.assert_array_equal(first, given * 2)
    assert not given.size or address(first) == address(second)
    assert not first.flags.writeable
    assert x.__dlpack_device__() == (1, 0)


def test_an_update_goes_elsewhere_while_an_export_lives():
    x = owl.ones([64, 64])
    views = []
    for _ in range(50):
        x += 1
        views.append(np.from_dlpack(x))
    x *= 0
    owl.wait_for_all()
    for k, view in enumerate(views):
        assert (view == k + 2).all()
    assert len({address(view) for view in views}) == 50


def test_an_update_is_in_place_again_when_exports_are_gone():
    x = owl.ones([64, 64]) + 1
    places = set()
    for _ in range(5):
        places.add(address(np.from_dlpack(x)))
        x += 1
    assert len(places) == 1


def test_an_export_outlives_handles_and_threads():
    def make():
        x = owl.ones([100, 100]) * 7
        found.append(np.from_dlpack(x))

    found = []
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    gc.collect()
    others = [owl.zeros([100, 100]) + k for k in range(20)]
    owl.wait_for_all()
    assert (found[0] == 7).all()
    del others


LETS_GO = """
import sys
import numpy as np
import owl
owl.set_device(owl.create_cpu_device())
x = owl.ones([1000]) + 1
sys.kept = np.from_dlpack(x), owl.from_dlpack(np.ones(1000)), x.__dlpack__(max_version=(1, 0)), x.__dlpack__()
pending = sys.kept[1] * 2
pending.start_eval()
"""

# An exit handler that was registered before owl's runs after it, one that was registered later runs before.
SHARES_AT_EXIT = """
import atexit, gc, sys
import numpy as np
LIBRARY

def read():
    assert (np.asarray(shown) == 7).all()
    assert (borrowed.to_numpy() == 5).all()
    print("read")

if "before" in sys.argv:
    atexit.register(read)
import owl
owl.set_device(owl.create_cpu_device())
if "after" in sys.argv:
    atexit.register(read)

x = owl.ones([50_000]) * 7
shown = library.from_dlpack(x)
lent = library.full((50_000,), 5.0, dtype=library.float32)
borrowed = owl.from_dlpack(lent)
del x, lent
gc.collect()
others = [owl.zeros([50_000]) + k for k in range(8)]  # would take memory that is free, with NumPy's
owl.wait_for_all()
rest = [np.full(50_000, -1, np.float32) for _ in range(8)]
"""

LIBRARIES = {"numpy": "import numpy as library", "torch": "import torch as library"}


def run(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def test_programs_end_with_exports_and_borrowed_memory():
    done = run(LETS_GO)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("registered", ["before", "after"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_shared_memory_is_read_at_exit_when_its_owner_is_gone(library, registered):
    pytest.importorskip(library)
    done = run(SHARES_AT_EXIT.replace("LIBRARY", LIBRARIES[library]), registered)
    assert (done.returncode, done.stdout, done.stderr) == (0, "read\n", "")


@pytest.mark.parametrize("library", LIBRARIES)
def test_shared_memory_goes_with_the_interpreter(library):
    # Modules are taken apart after exit handlers, in whatever order: both sides let go when the other may be gone.
    pytest.importorskip(library)
    keeps = "import builtins\nbuiltins.kept, sys.kept, np.kept = shown, borrowed, (shown, borrowed)\n"
    done = run(SHARES_AT_EXIT.replace("LIBRARY", LIBRARIES[library]) + keeps)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_thread_lets_go_of_shared_memory(library):
    library = pytest.importorskip(library)
    x = owl.ones([1000]) * 7
    held = [library.from_dlpack(x), owl.from_dlpack(library.full((1000,), 5.0, dtype=library.float32))]
    y = held[1] + 1
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert ((x + y).to_numpy() == 13).all()


def test_a_library_that_knows_no_read_only_memory_gets_a_copy():
    class Old:
        def __dlpack__(self, *, stream=None, **_):
            return x.__dlpack__(stream=stream)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    x = owl.ones([4]) + 1
    view = np.from_dlpack(Old())
    assert (view == 2).all()
    assert address(view) != address(np.from_dlpack(x))
    with pytest.raises(BufferError, match=r"version 1\.0"):
        x.__dlpack__(copy=False)
    copy = np.from_dlpack(x, copy=True)
    copy[:] = 5
    assert (x.to_numpy() == 2).all()


def test_what_cannot_be_exported():
    x = owl.ones([4])
    with pytest.raises(BufferError, match="stream must be None"):
        x.__dlpack__(stream=1)
    with pytest.raises(BufferError, match="only memory of the host"):
        x.__dlpack__(dl_device=(2, 0))
    failing = owl.testing.promise([4])
    later = failing.array + 1
    failing.fail("no luck")
    with pytest.raises(owl.ExecutionError, match="no luck"):
        np.from_dlpack(later)


@pytest.mark.parametrize("dtype", DTYPES)
def test_borrowed_memory_is_read_where_it_lies_and_let_go(dtype, rng):
    given = rng.standard_normal((5, 6)).astype(dtype)
    expected = given * 2 + 1
    x = owl.from_dlpack(given)
    assert (x.shape, x.dtype, x.device) == ([6, 5], dtype, owl.zeros([1]).device)
    assert address(np.from_dlpack(x)) == address(given)
    gone = weakref.ref(given)
    y = x * 2 + 1
    del given, x
    np.testing.assert_array_equal(y.to_numpy(), expected)
    del y
    owl.wait_for_all()
    gc.collect()
    owl.zeros([1])  # lets go of what native threads have finished with
    assert gone() is None


def test_borrowed_memory_is_not_written_to():
    given = np.ones((50, 50), np.float32)
    x = owl.from_dlpack(given)
    for _ in range(5):
        x += 1
    assert (x.to_numpy() == 6).all()
    assert (given == 1).all()


def test_a_copy_may_be_changed_at_once():
    given = np.ones(100)
    x = owl.from_dlpack(given, copy=True)
    given[:] = 3
    assert (x.to_numpy() == 1).all()


def test_an_owl_array_comes_back_as_it_was():
    x = owl.ones([7, 3]) * 4
    y = owl.from_dlpack(x)
    assert y.shape == [7, 3]
    assert address(np.from_dlpack(y)) == address(np.from_dlpack(x))


def test_what_cannot_be_borrowed():
    class Elsewhere:
        def __dlpack__(self, **_):
            raise AssertionError("it is not asked")

        def __dlpack_device__(self):
            return place

    place = (8, 1)
    with pytest.raises(owl.DeviceError, match=r"device \(8, 1\) is neither the host's nor CUDA's"):
        owl.from_dlpack(Elsewhere())
    place = (2, 99)
    with pytest.raises(owl.DeviceError, match="GPU 99 cannot be used"):
        owl.from_dlpack(Elsewhere())
    with pytest.raises(TypeError, match="__dlpack__ is wanted, not list"):
        owl.from_dlpack([1.0])
    with pytest.raises(owl.DTypeError, match=r"int64.*from_numpy"):
        owl.from_dlpack(np.arange(3))
    for gaps in (np.ones((4, 4))[:, ::2], np.ones((4, 3)).T):
        with pytest.raises(owl.OwlValueError, match=r"gaps.*from_numpy"):
            owl.from_dlpack(gaps)


def test_memory_of_the_host_stays_there_when_another_device_is_current():
    with owl.testing.remote_device():
        x, y = owl.from_dlpack(np.ones(3)), owl.from_dlpack(np.ones(3))
        assert x.device == y.device
        assert x.device.name.startswith("cpu:")
        there = x.to(owl.zeros([1]).device)
        assert there.__dlpack_device__()[0] == 12
        with pytest.raises(BufferError, match="only memory of the host"):
            there.__dlpack__(max_version=(1, 0))
        with pytest.raises(BufferError, match="as a copy only"):
            there.__dlpack__(max_version=(1, 0), dl_device=(1, 0), copy=False)
        np.testing.assert_array_equal(np.from_dlpack(there, device="cpu"), np.ones(3))
    device = new_device()
    with device:
        assert owl.from_dlpack(np.ones(3)).device == device


def test_pytorch_and_back():
    torch = pytest.importorskip("torch")
    x = owl.ones([3, 2]) * 2
    tensor = torch.from_dlpack(x)
    assert tensor.shape == (2, 3)
    x += 1
    assert (tensor == 2).all()
    there = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    y = owl.from_dlpack(there)
    assert address(np.from_dlpack(y)) == there.data_ptr()
    np.testing.assert_array_equal((y + 1).to_numpy(), there.numpy() + 1)
    with pytest.raises(owl.OwlValueError, match="gaps"):
        owl.from_dlpack(there.T)


def test_pytorch_trains_on_owls_values():
    torch = pytest.importorskip("torch")
    x = owl.randn([4, 256], 0.0, 1.0)
    target = x.to_numpy() @ np.array([1, -2, 3, 0.5], np.float32)
    weights = torch.zeros(4, requires_grad=True)
    for _ in range(200):
        loss = ((torch.from_dlpack(x) @ weights - torch.from_dlpack(owl.from_numpy(target))) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            weights -= 0.2 * weights.grad
            weights.grad = None
    torch.testing.assert_close(weights.detach(), torch.tensor([1, -2, 3, 0.5]), atol=1e-4, rtol=0)
