"""CuPy's arrays in owl's memory."""

BEGIN = """
import gc
import owl.cuda
from owl.testing._standin import cupy
from tests.gpu.device.sharing import Library
owl.cuda.share_memory()
library = Library()
"""


def test_cupy_allocates_from_owls_memory(program):
    program(
        BEGIN,
        """
    before = owl.memory_info(gpu)["in_use"]
    with cupy.cuda.Device(0):
        pointer = cupy.cuda.alloc(1 << 20)
        nothing = cupy.cuda.alloc(0)
    assert (pointer.device_id, nothing.ptr) == (0, 0)
    assert owl.memory_info(gpu)["in_use"] >= before + (1 << 20)
    library.copy(pointer.ptr, library.array(np.ones(1 << 18, np.float32)).data, 1 << 20)
    del pointer, nothing
    gc.collect()
    owl.testing.settle()
    assert owl.memory_info(gpu)["in_use"] == before
    assert owl.memory_info(gpu)["cached"] >= 1 << 20
    """,
        arguments="checked=True, lazy=True",
    )


def test_memory_of_an_array_that_is_gone_is_used_again_after_its_kernels(program):
    program(
        BEGIN,
        """
    with gpu:
        (owl.zeros([1 << 18]) + 1).wait_for_eval()
        for k in range(8):
            with cupy.cuda.Device(0):
                pointer = cupy.cuda.alloc(1 << 20)
            source = library.array(np.full(1 << 18, k, np.float32))
            library.copy(pointer.ptr, source.data, 1 << 20)  # queued, when the array is gone
            del pointer
            y = owl.zeros([1 << 18]) + k
            y.wait_for_eval()
        assert not control.problems()
        control.skip_wait(1, "cuCtxSynchronize")
        owl.testing.trim_memory(gpu)
        assert control.problems()  # it would have gone back to the driver under the copies
    """,
        arguments="checked=True, lazy=True",
    )


def test_cupys_memory_is_not_what_owls_queued_work_still_uses(program):
    program(
        BEGIN,
        """
    with gpu:
        for k in range(20):
            x = owl.zeros([1 << 18]) + k
            y = ele.tanh(x)
            y.start_eval()
            del x, y  # freed while the device has not begun
            with cupy.cuda.Device(0):
                pointer = cupy.cuda.alloc(1 << 20)
            library.copy(pointer.ptr, library.allocate(1 << 20), 1 << 20)
    """,
        arguments="checked=True, lazy=True",
    )


def test_both_libraries_get_what_the_other_one_does_not_need(program):
    # Of 17 MiB each of them takes 12, one after the other, in other sizes.
    program(
        BEGIN,
        """
    for k in range(6):
        with gpu:
            values = [owl.zeros([1 << 20]) + k for _ in range(3)]
            owl.wait_for_all()
            del values
        with cupy.cuda.Device(0):
            pointers = [cupy.cuda.alloc(6 << 20) for _ in range(2)]
        with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="6,291,456"):
            cupy.cuda.alloc(6 << 20)
        del pointers
        gc.collect()
    """,
        arguments="checked=True, lazy=True, memory=17 << 20",
    )


def test_a_device_is_created_where_cupy_needs_one(program):
    program(
        """
    import owl.cuda
    from owl.testing._standin import cupy
    owl.cuda.share_memory()
    with cupy.cuda.Device(1):
        pointer = cupy.cuda.alloc(256)
        other = cupy.cuda.alloc(256)
    assert (pointer.device_id, other.device_id) == (1, 1)
    assert owl.show_config(file=open(os.devnull, "w")) is None
    child = os.fork()
    if child == 0:
        try:
            del other  # without a call of the driver
            with pytest.raises(owl.DeviceError, match="forked"):
                owl._runtime.lending_device(1)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    sys.kept = pointer  # comes back when Python takes modules apart
    """,
        arguments="checked=True, devices=2",
        device=False,
    )


def test_without_cupy(python):
    done = python(
        "import sys, owl, owl.cuda\nsys.modules['cupy'] = None\n"
        "try:\n    owl.cuda.share_memory()\nexcept owl.DeviceError as error:\n    print(error)\n",
        OWL_CUDA_DRIVER=None,
    )
    assert "CuPy is missing: pip install" in done.stdout, done.stderr
