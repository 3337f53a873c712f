"""The stub of CuPy: it does what owl's device asks of CuPy, and its names and signatures are CuPy's."""

import inspect
import re

import pytest

from owl.testing._standin import cupy as stub

USING = """
import gc, threading
import owl.testing
control = owl.testing.standin(devices=2, memory=1 << 20, lazy=True, checked=True)
from owl.testing import _standin
from owl.testing._standin.cupy import cuda

assert cuda.runtime.getDeviceCount() == 2
assert cuda.runtime.driverGetVersion() >= 12000
device = cuda.Device(1)
assert device.compute_capability == "90"
assert device.attributes["MaxThreadsPerBlock"] == 1024
assert device.pci_bus_id == "0000:01:00.0"
assert device.mem_info == (1 << 20, 1 << 20)

def current():
    import ctypes
    context = ctypes.c_void_p()
    assert control.library.cuCtxGetCurrent(ctypes.byref(context)) == 0
    return context.value

def at_first():
    assert current() is None
    with cuda.Device(0):
        first = current()
        with device:
            assert current() not in (None, first)
            stream, event = cuda.Stream(non_blocking=True), cuda.Event(block=True, disable_timing=True)
            module = cuda.function.Module()
            module.load(_standin.module_image())
            assert module.get_function("copy_f32_f32_i32").ptr
            stream.synchronize()
            event.synchronize()
            assert len({stream.ptr, event.ptr}) == 2
            assert stream.__cuda_stream__() == (0, stream.ptr)
        assert current() == first
    assert current() is None
    gone = stream.ptr
    del stream
    gc.collect()
    device.use()
    import ctypes
    assert control.library.cuStreamQuery(ctypes.c_void_p(gone)) == 400
    try:
        module.get_function("none")
    except cuda.driver.CUDADriverError as error:
        assert error.status == 500 and "CUDA_ERROR_NOT_FOUND" in str(error)
    else:
        raise AssertionError

thread = threading.Thread(target=at_first)
thread.start()
thread.join()
assert control.calls("cuStreamDestroy_v2") == 1, "the thread failed"
assert not control.problems()
"""


def test_it_does_what_the_device_asks_for(python):
    done = python(USING)
    assert (done.returncode, done.stderr) == (0, "")


def parameters(function):
    """Names and defaults; of a function of C from the line that Cython has written into its text."""
    try:
        found = inspect.signature(function)
    except ValueError:
        line = re.search(r"\((.*?)\)", function.__doc__ or "")
        words = [word.split()[-1] for word in line[1].split(", ")] if line and line[1] else []
        return [word for word in words if word != "self"]
    return [re.sub(r":.*?(?= =|$)", "", str(x)).replace(" ", "") for x in found.parameters.values() if x.name != "self"]


@pytest.mark.filterwarnings("ignore")
def test_names_and_signatures_are_those_of_cupy():
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    cuda = cupy.cuda
    classes = ("Device", "Stream", "Event", "function.Module", "memory.CFunctionAllocator", "memory.MemoryPointer",
               "memory.UnownedMemory")  # fmt: skip
    for name in (*classes, "memory.OutOfMemoryError"):
        ours, theirs = stub.cuda, cuda
        for part in name.split("."):
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        assert parameters(ours) == parameters(theirs), name
        for method, value in vars(ours).items():
            if method.startswith("_"):
                continue
            assert hasattr(theirs, method), (name, method)
            if inspect.isfunction(value):
                assert parameters(value) == parameters(getattr(theirs, method)), (name, method)
    assert hasattr(cuda.Stream, "__cuda_stream__")
    for name in ("alloc", "set_allocator"):
        assert parameters(getattr(stub.cuda, name)) == parameters(getattr(cuda, name)), name
    assert set(dir(cuda.memory.MemoryPointer)) >= {"ptr", "device_id", "mem"}
    assert parameters(stub.asarray)[:1] == parameters(cupy.asarray)[:1]
    assert set(dir(cupy.ndarray)) >= {"shape", "dtype", "strides", "data", "get"}
    assert "stream" in cupy.ndarray.get.__doc__.splitlines()[0]
    for name in ("getDeviceCount", "driverGetVersion"):
        assert parameters(getattr(stub.cuda.runtime, name)) == parameters(getattr(cuda.runtime, name)) == []
    assert issubclass(cuda.driver.CUDADriverError, RuntimeError)
    for name, number in stub._ATTRIBUTES.items():
        assert getattr(cuda.runtime, f"cudaDevAttr{name}") == number, name
