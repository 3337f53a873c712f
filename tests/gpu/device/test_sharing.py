"""Memory of a GPU that other libraries share: who waits for whom, how long it stays. `sharing` is such a library."""

import pytest

BEGIN = """
from tests.gpu.device.sharing import CUDA, FLOAT, READ_ONLY, Library
library = Library()
"""

LAZY = "checked=True, lazy=True"


def test_another_library_reads_the_values_own_memory(program):
    program(
        BEGIN,
        """
    with gpu:
        given = np.arange(6, dtype=np.float32).reshape(2, 3)
        x = owl.from_numpy(given) * 2
        assert x.__dlpack_device__() == (2, 0)
        view = library.from_dlpack(x)
        assert (view.shape, view.strides, view.place, view.elements) == ((2, 3), (3, 1), (CUDA, 0), (FLOAT, 32, 1))
        assert view.flags == READ_ONLY
        assert view.data == owl._runtime.buffer_address(x)
        assert (view.queue_copy().numbers() == given * 2).all()
        older = library.from_dlpack(x, None)
        assert (older.flags, older.data) == (None, view.data)
        wide = library.from_dlpack(owl.ones([2, 1, 3], dtype=np.float64))
        assert (wide.shape, wide.elements[1]) == ((3, 1, 2), 64)
        number = library.from_dlpack(owl.from_numpy(np.float32(7)))
        assert number.shape == () and number.queue_copy().numbers() == 7
        none = library.from_dlpack(owl.zeros([0, 4]))
        assert none.shape == (4, 0)
        for each in (view, older, wide, number, none):
            each.release()
        x.__dlpack__(max_version=(1, 0))  # capsules that are not consumed
        x.__dlpack__()
        del x, each, view, older, wide, number, none
        assert owl.testing.settle()["buffers"] == 0
    """,
        arguments=LAZY,
    )


def test_what_is_refused(program):
    program("""
    cpu = owl.create_cpu_device()
    with gpu:
        x = owl.ones([4]) + 1
        for stream in (0, "legacy"):
            with pytest.raises(BufferError, match="stream is None, -1, 1, 2 or"):
                x.__dlpack__(stream=stream)
        with pytest.raises(BufferError, match=r"cannot be had on DLPack's device \\(2, 7\\)"):
            x.__dlpack__(dl_device=(2, 7))
        with pytest.raises(BufferError, match="as a copy only"):
            x.__dlpack__(dl_device=(1, 0), copy=False)
        assert (np.from_dlpack(x, device="cpu") == 2).all()
    with cpu:
        y = owl.ones([4]) + 1
        assert not hasattr(y, "__cuda_array_interface__")
        with pytest.raises(BufferError, match=r"device \\(2, 0\\)"):
            y.__dlpack__(dl_device=(2, 0))
    """)


def test_a_copy_is_the_consumers(program):
    program(
        BEGIN,
        """
    from tests.gpu.device.sharing import View
    with gpu:
        x = owl.ones([64]) + 1
        view = View(library, x.__dlpack__(max_version=(1, 0), copy=True))
        assert view.flags == 2 and view.data != owl._runtime.buffer_address(x)
        library.copy(view.data, library.array(np.full(64, 9, np.float32)).data, 256)
        assert (view.queue_copy().numbers() == 9).all()
        assert (x.to_numpy() == 2).all()
        view.release()
    """,
        arguments=LAZY,
    )


def test_updates_go_elsewhere_while_another_library_has_the_value(program):
    program(
        BEGIN,
        """
    with gpu:
        x = owl.ones([1024]) + 1
        views = []
        for k in range(20):
            views.append(library.from_dlpack(x))
            x += 1
        owl.wait_for_all()
        assert len({view.data for view in views}) == 20
        for k, view in enumerate(views):
            assert (view.queue_copy().numbers() == k + 2).all()
            view.release()
        owl.testing.settle()
        places = set()
        for k in range(5):  # in place again
            places.add(owl._runtime.buffer_address(x))
            x += 1
        assert len(places) == 1
    """,
        arguments=LAZY,
    )


# The other library has queued its reading, and lets go. `reuse` does what would take the memory again.
LETS_GO = """
def lend(value):
    x = owl.zeros([1 << 16]) + value
    view = library.from_dlpack(x)
    copy = view.queue_copy()
    view.release()
    return copy

def reuse():
    for k in range(6):
        (owl.zeros([1 << 16]) + 100 + k).wait_for_eval()
"""


def test_memory_is_not_used_again_while_kernels_of_the_other_library_are_queued(program):
    program(
        BEGIN,
        LETS_GO,
        """
    with gpu:
        copies = [lend(k) for k in range(3)]
        reuse()
        for k, copy in enumerate(copies):
            assert (copy.numbers() == k).all(), k
        assert not control.calls("cuCtxSynchronize")
    """,
        arguments=LAZY,
    )


def test_a_value_is_not_overwritten_while_kernels_of_the_other_library_are_queued(program):
    program(
        BEGIN,
        """
    with gpu:
        x = owl.zeros([1 << 16]) + 7
        view = library.from_dlpack(x)
        copy = view.queue_copy()
        view.release()
        for k in range(4):
            x += 1
            x.wait_for_eval()
        assert (copy.numbers() == 7).all()
    """,
        arguments=LAZY,
    )


def test_memory_comes_back_when_it_is_short(program):
    # 3 MiB each, and 16 in all: what was let go of is used again after a wait for the GPU, without which the checker
    # names the copy that is queued.
    program(
        BEGIN,
        """
    with gpu:
        def step(k):
            x = owl.zeros([768 << 10]) + k
            view = library.from_dlpack(x)
            library.copy(target, view.data, view.bytes)
            view.release()

        target = library.allocate(3 << 20)
        for k in range(20):
            step(k)
        assert control.calls("cuCtxSynchronize") > 2
        assert not control.problems()
        before = control.calls("cuCtxSynchronize")
        control.skip_wait(1, "cuCtxSynchronize")
        for k in range(20):
            step(k)
        assert control.problems()
    """,
        arguments=LAZY + ", memory=16 << 20",
    )


def test_memory_comes_back_below_a_limit(program):
    program(
        BEGIN,
        """
    with gpu, owl.testing.memory_limit(8 << 20, device=gpu):
        for k in range(20):
            view = library.from_dlpack(owl.zeros([256 << 10]) + k)
            copy = view.queue_copy()
            view.release()
            if k % 5 == 0:
                assert (copy.numbers() == k).all()
    assert control.calls("cuCtxSynchronize")
    """,
        arguments=LAZY,
    )


def test_a_thread_brings_memory_back_beyond_a_bound(program):
    program(
        BEGIN,
        """
    import time
    with gpu:
        for k in range(40):
            library.from_dlpack(owl.zeros([1 << 20]) + k).release()  # 4 MiB each
        until = time.monotonic() + 30
        while owl.memory_info(gpu)["in_use"] > 64 << 20 and time.monotonic() < until:
            time.sleep(0.01)
        assert owl.memory_info(gpu)["in_use"] <= 64 << 20, owl.memory_info(gpu)
    assert control.calls("cuCtxSynchronize")
    """,
        arguments="checked=True",
    )


def test_letting_go_does_not_call_the_driver(program):
    program(
        BEGIN,
        """
    import threading
    import time
    from pathlib import Path
    rows = Path(owl.__file__).with_name("_cuda").joinpath("driver.def").read_text().splitlines()
    symbols = [row.split(", ")[1] for row in rows if row.startswith("OWL_DRIVER(")]
    assert len(symbols) > 15
    with gpu:
        views = [library.from_dlpack(owl.zeros([64]) + k) for k in range(4)]
        owl.wait_for_all()
        calls = lambda: [control.calls(symbol) for symbol in symbols]
        before = None
        while before != calls():  # the device's threads may still be on their way to rest
            before = calls()
            time.sleep(0.1)
        views.pop().release()
        thread = threading.Thread(target=views.pop().release)  # without a context
        thread.start()
        thread.join()
        child = os.fork()
        if child == 0:
            try:
                views.pop().release()
                owl.testing.settle()
                with pytest.raises(owl.OwlError, match="forked"):
                    (owl.zeros([2]) + 1).__dlpack__()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert calls() == before
        views.pop().release()
    """,
    )


@pytest.mark.parametrize("ordered", [True, False])
def test_values_from_another_library_come_after_what_it_has_queued(program, ordered):
    program(
        BEGIN,
        f"ordered = {ordered}\n",
        """
    with gpu:
        given = np.arange(1200, dtype=np.float32).reshape(30, 40)
        array = library.array(given)
        array.ordered = ordered
        x = owl.from_dlpack(array)
        assert (x.shape, x.device, array.asked) == ([40, 30], gpu, [gpu.stream.ptr])
        y = (x * 2 + 1).to_numpy()
        z = x.to_numpy()
        problems = control.problems()
        assert bool(problems) != ordered, problems
        if ordered:
            assert (y == given * 2 + 1).all() and (z == given).all()
    """,
        arguments=LAZY,
    )


def test_a_value_is_fetched_after_what_the_other_library_has_queued(program):
    # Nothing of owl's is computed in between.
    program(
        BEGIN,
        """
    for k in range(20):
        array = library.array(np.full(100, k, np.float32))
        with gpu:
            assert (owl.from_dlpack(array).to_numpy() == k).all()
    """,
        arguments=LAZY,
    )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("form", ["ele.tanh(x) + x", "x.reshape([1 << 19])", "x.to(cpu)", "x.to(other)", "None"])
def test_borrowed_memory_is_held_until_the_device_has_read_it(program, form, fused):
    # Once owl has let go, the other library uses the memory for something else at once, while owl's kernels, which take
    # tens of milliseconds here, may still be queued.
    program(
        BEGIN,
        f"form, fused = lambda x: {form}, {fused}\n",
        """
    import contextlib, time
    other, cpu = owl.create_gpu_device(0), owl.create_cpu_device()
    given = np.full((1024, 512), 3, np.float32)
    with gpu, contextlib.nullcontext() if fused else owl.testing.unfused():
        for _ in range(3):
            array = library.array(given)
            x = owl.from_dlpack(array)
            y = form(x)
            del x
            if y is not None:
                y = y + 1
                y.start_eval()
            until = time.monotonic() + 30
            while not array.deleted and time.monotonic() < until:
                owl.zeros([1])  # lets go of what native threads have finished with
            assert array.deleted == 1
            array.overwrite()
            owl.wait_for_all()
            assert not control.problems()
    """,
    )


def test_borrowed_memory_is_not_written_to(program):
    program(
        BEGIN,
        """
    with gpu:
        array = library.array(np.ones((50, 50), np.float32))
        x = owl.from_dlpack(array)
        for _ in range(5):
            x += 1
        assert (x.to_numpy() == 6).all()
        assert (owl.from_dlpack(array).to_numpy() == 1).all()
        copied = owl.from_dlpack(array, copy=True)
        array.overwrite()
        library.wait()
        assert (copied.to_numpy() == 1).all()
    """,
        arguments=LAZY,
    )


def test_the_device_of_borrowed_memory(program):
    program(
        """
    from tests.gpu.device.sharing import Library
    cpu = owl.create_cpu_device()
    first, second = Library(0), Library(1)
    owl.set_device(cpu)
    x = owl.from_dlpack(first.array(np.ones(4, np.float32)))
    y = owl.from_dlpack(second.array(np.ones(4, np.float32)))  # a device is created
    assert (x.device, y.device.name) == (gpu, "gpu:1")
    assert owl.from_dlpack(second.array(np.ones(4, np.float32))).device == y.device
    assert owl.get_device() == cpu
    with owl.create_gpu_device(0) as another:
        assert owl.from_dlpack(first.array(np.ones(4, np.float32))).device == another
        assert ((x.to(another) + y.to(another)).to_numpy() == 2).all()
    elsewhere = first.array(np.ones(4, np.float32))
    first.device.id = 5
    with pytest.raises(owl.DeviceError, match="there are 2 GPUs"):
        owl.from_dlpack(elsewhere)
    """,
        arguments="checked=True, devices=2",
    )


def test_what_cannot_be_borrowed(program):
    program(
        BEGIN,
        """
    def borrow(values, **changes):
        array = library.array(values)
        vars(array).update(changes)
        arrays.append(array)
        return owl.from_dlpack(array)

    arrays = []
    ones = np.ones((4, 6), np.float32)
    with pytest.raises(owl.OwlValueError, match="contiguous"):
        borrow(np.asfortranarray(ones))
    with pytest.raises(owl.OwlValueError, match="contiguous"):
        borrow(ones, shape=(4, 3))
    with pytest.raises(owl.OwlValueError, match="contiguous"):
        borrow(ones, offset=2)
    with pytest.raises(owl.DTypeError, match="astype"):
        borrow(np.ones(3, np.int32))
    with pytest.raises(owl.DTypeError, match="astype"):
        borrow(np.ones(3, np.float16))
    assert [array.deleted for array in arrays] == [1] * 5
    # Strides do not matter where there is one element, or none.
    assert borrow(np.ones((1, 3), np.float32), strides=(77, 1)).to_numpy().tolist() == [[1, 1, 1]]
    assert borrow(np.ones((0, 3), np.float32)).shape == [3, 0]
    assert borrow(ones, versioned=False).to_numpy().tolist() == ones.tolist()
    assert borrow(ones.astype(np.float64)).dtype == np.float64
    assert borrow(ones, offset=0, shape=(2, 6), bytes=48).shape == [6, 2]
    """,
    )


def test_an_array_that_is_shown_keeps_its_values(program):
    # Consumers of the CUDA array interface hold the array, which may be pointed at another value meanwhile.
    program(
        BEGIN,
        """
    import weakref
    with gpu:
        x = owl.from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3)) + 1
        shown = x.__cuda_array_interface__
        address, read_only = shown.pop("data")
        assert shown == {"version": 3, "shape": (2, 3), "typestr": "<f4", "strides": None, "stream": None}
        assert (address, read_only) == (owl._runtime.buffer_address(x), False)
        assert x.__cuda_array_interface__["data"][0] == address
        x += 1
        reuse = [owl.zeros([3, 2]) + k for k in range(5)]
        owl.wait_for_all()
        copied = np.empty((2, 3), np.float32)
        library.call("cuMemcpyDtoHAsync_v2", copied.ctypes.data, address, 24, library.stream.ptr)
        assert (copied == np.arange(1, 7).reshape(2, 3)).all()
        library.copy(library.allocate(24), address, 24)
        del x, reuse
        reuse = [owl.zeros([3, 2]) + k for k in range(5)]
        owl.wait_for_all()
        assert owl.zeros([0]).__cuda_array_interface__["data"] == (0, False)
        del reuse
        owl.testing.settle()
        assert not owl._runtime.debug_counters()["buffers"]
    """,
        arguments=LAZY,
    )


def test_values_that_are_shared_at_exit(program):
    # The other library lets go after owl's exit handler, or never, or when Python takes modules apart.
    program(
        BEGIN,
        """
    import atexit
    with gpu:
        x = owl.zeros([64]) + 1
        view, late = library.from_dlpack(x), library.from_dlpack(x)
        view.queue_copy()
        view.release()
        atexit._clear()
        atexit.register(late.release)
        atexit.register(owl._runtime._finish)
        sys.kept = library.from_dlpack(x), x.__dlpack__(), x.__cuda_array_interface__, x
        sys.lent = owl.from_dlpack(library.array(np.ones(64, np.float32)))
        pending = sys.lent * 2
        pending.start_eval()
    """,
        checks=False,
        arguments="",
        timeout=20,
    )
