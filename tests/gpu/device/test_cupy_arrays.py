"""CuPy's asarray of an owl array, by the stub: it checks what the CUDA array interface shows, and keeps its owner."""

import pytest

BEGIN = """
import gc, weakref
from owl.testing._standin import cupy
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_shapes_and_addresses(program, dtype):
    program(
        BEGIN,
        f"""
    with gpu:
        for shape in (), (5,), (2, 3), (4, 1, 3), (0, 4):
            given = np.arange(int(np.prod(shape)), dtype="{dtype}").reshape(shape)
            x = owl.from_numpy(given, dtype="{dtype}") * 2
            y = cupy.asarray(x)
            assert (y.shape, y.dtype, y.strides) == (shape, np.dtype("{dtype}"), given.strides), (y.shape, y.strides)
            assert y.data.ptr == (owl._runtime.buffer_address(x) if given.size else 0)
            assert (y.data.mem.owner, y.data.mem.size, y.data.device_id) == (x, given.nbytes, 0)
            assert y.get().tobytes() == (given * 2).tobytes()
            assert y.get(gpu.stream).tobytes() == (given * 2).tobytes()
    """,
        arguments="checked=True, lazy=True",
    )


def test_the_value_lives_as_long_as_the_array_over_it(program):
    program(
        BEGIN,
        """
    with gpu:
        x = owl.from_numpy(np.arange(6, dtype=np.float32)) + 1
        y, gone = cupy.asarray(x), weakref.ref(x)
        del x
        gc.collect()
        assert gone() is not None
        reuse = [owl.zeros([6]) + k for k in range(5)]
        owl.wait_for_all()
        assert y.get().tolist() == [1, 2, 3, 4, 5, 6]
        held = gone()
        held += 10  # another value: what was shown stays
        owl.wait_for_all()
        assert y.get().tolist() == [1, 2, 3, 4, 5, 6]
        assert cupy.asarray(held).get().tolist() == [11, 12, 13, 14, 15, 16]
        del y, reuse, held
        gc.collect()
        assert gone() is None
        owl.testing.settle()
        assert not owl._runtime.debug_counters()["buffers"]
    """,
        arguments="checked=True, lazy=True",
    )


def test_a_value_that_is_still_recorded_is_computed_first(program):
    program(
        BEGIN,
        """
    with gpu:
        x = owl.from_numpy(np.full((300, 300), 0.5, np.float32))
        for _ in range(5):
            x = x * 2 - 0.5
        assert x.state == "recorded"
        assert (cupy.asarray(x).get() == 0.5).all()
    """,
        arguments="checked=True, lazy=True",
    )


def test_values_of_cpus_and_failed_ones(program):
    program(
        BEGIN,
        """
    with owl.create_cpu_device(), pytest.raises(AttributeError, match="no GPU's"):
        cupy.asarray(owl.ones([3]))
    with gpu:
        x = owl.from_numpy(np.ones(3, np.float32))
        x.wait_for_eval()
        control.fail("cuLaunchKernel", 1, 701)
        y = x + 1
        with pytest.raises(owl.ExecutionError, match="CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"):
            cupy.asarray(y)
    """,
    )


WRONG = [
    ({"version": 2}, "version 2"),
    ({"shape": [2, 3]}, "version 3 with the shape"),
    ({"data": (0, False)}, "address 0 for 24 bytes"),
    ({"data": (7.0, False)}, "data are an address"),
    ({"strides": (12,)}, "strides"),
    ({"stream": 0}, "stream 0"),
    ({"mask": 1}, "masked"),
]


@pytest.mark.parametrize(("change", "text"), WRONG)
def test_the_stub_refuses_what_the_protocol_does_not_allow(program, change, text):
    program(
        BEGIN,
        f"""
    class Changed:
        def __init__(self, x, change):
            self.__cuda_array_interface__ = {{**x.__cuda_array_interface__, **change}}

    with gpu:
        x = owl.ones([3, 2]) + 1
        assert cupy.asarray(Changed(x, {{}})).get().tolist() == [[2, 2, 2], [2, 2, 2]]
        assert cupy.asarray(Changed(x, {{"stream": gpu.stream.ptr}})).get().tolist() == [[2, 2, 2], [2, 2, 2]]
        with pytest.raises(ValueError, match={text!r}):
            cupy.asarray(Changed(x, {change!r}))
    """,
    )


def test_dlpack_shows_the_same_memory(program):
    # 1 is the default stream, which CuPy is on unless it is told another one.
    program(
        BEGIN,
        """
    from tests.gpu.device.sharing import FLOAT, Library, View
    library = Library()
    with gpu:
        x = owl.from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3)) * 2
        y = cupy.asarray(x)
        for stream in 1, library.stream.ptr, gpu.stream.ptr:
            view = View(library, x.__dlpack__(stream=stream, max_version=(1, 0), dl_device=None, copy=None))
            assert (view.data, view.shape, view.place[1]) == (y.data.ptr, y.shape, y.data.device_id)
            assert view.strides == tuple(stride // y.dtype.itemsize for stride in y.strides)
            assert view.elements == (FLOAT, 8 * y.dtype.itemsize, 1)
            assert (view.queue_copy().numbers() == y.get()).all()
            view.release()
    """,
        arguments="checked=True, lazy=True",
    )
