"""What goes wrong in the driver, on the device, or beside them: told clearly, and what follows works."""

import pytest

# The symbol, CUDA's code for it, and whether a value fails with it: memory that is refused is asked for again, and
# giving memory back concerns no value. None: the call may be for a value that is gone already.
CALLS = [
    ("cuMemAlloc_v2", 2, False),
    ("cuMemHostAlloc", 2, False),
    ("cuMemFree_v2", 1, False),
    ("cuMemFreeHost", 1, False),
    ("cuMemcpyHtoDAsync_v2", 1, True),
    ("cuMemcpyDtoHAsync_v2", 1, True),
    ("cuMemcpyPeerAsync", 1, True),
    ("cuLaunchKernel", 701, True),
    ("cuEventRecord", 1, False),  # the end of the stream is waited for instead
    ("cuEventQuery", 1, None),
    ("cuEventSynchronize", 1, None),
    ("cuStreamWaitEvent", 1, True),
    ("cuStreamSynchronize", 1, False),
    ("cuCtxPushCurrent_v2", 201, False),  # then there is no pinned memory, and pageable memory does
    ("cuCtxPopCurrent_v2", 201, False),
]

# Everything that calls the driver once a device is there.
WORK = """
import time
other, cpu = owl.create_gpu_device(1), owl.create_cpu_device()

def work(k, size=256):
    with gpu:
        x = owl.from_numpy(np.full((size, size), k, np.float32))
        y = ele.tanh(x * 2 + 1)
        z = y.to(other)
    with other:
        w = z + 1
    found = w.to(cpu).to_numpy()
    with gpu:
        x.to_numpy()
    del x, y, z, w
    owl.testing.trim_memory(gpu)
    return found

def expected(k, size=256):
    with cpu:
        return (ele.tanh(owl.from_numpy(np.full((size, size), k, np.float32)) * 2 + 1) + 1).to_numpy()
"""


@pytest.mark.parametrize(("symbol", "code", "fails"), CALLS)
def test_a_call_that_fails_once(program, symbol, code, fails):
    program(
        WORK,
        f"""
        symbol, code = {symbol!r}, {code}
        work(0)
        told = 0
        for nth in (1, 2, 3):
            before = control.calls(symbol)
            control.fail(symbol, nth, code)
            until = time.monotonic() + 30
            k = 0
            while control.calls(symbol) < before + nth and time.monotonic() < until:
                k += 1
                try:
                    values = work(k)
                except (owl.OwlError, MemoryError) as error:
                    told += 1
                    text = str(error)
                    assert "CUDA" in text or "memory" in text, text
                else:
                    assert values.tobytes() == expected(k).tobytes()
            assert control.calls(symbol) >= before + nth, (nth, control.calls(symbol) - before)
        for k in range(3):
            assert work(k).tobytes() == expected(k).tobytes()
        owl.testing.settle()
        assert {fails} is None or bool(told) == {fails}, told
        """,
        arguments="checked=True, devices=2",
        unseen=fails is None,
    )


@pytest.mark.parametrize(
    "symbol",
    ["cuInit", "cuDevicePrimaryCtxRetain", "cuMemGetInfo_v2", "cuStreamCreate", "cuEventCreate", "cuModuleLoadData",
     "cuModuleGetFunction"],
)  # fmt: skip
def test_a_device_that_cannot_be_made(program, symbol):
    program(
        f"""
    control.fail({symbol!r}, 1, 999)
    with pytest.raises(owl.DeviceError) as caught:
        owl.create_gpu_device(0)
    assert "GPU 0 cannot be used: CUDA_ERROR_UNKNOWN" in str(caught.value)
    with owl.create_gpu_device(0):
        assert (owl.ones([2]) * 3).to_numpy().tolist() == [3, 3]
    """
    )


def test_an_upload_that_fails_while_what_reads_it_is_launched(program):
    # Once, the buffer was gone between the binding of a run and its launch, and the kernel read wherever that led.
    program(
        """
    with gpu, owl.testing.kernel_delay(5000):
        for k in range(40):
            control.fail("cuEventQuery", 1, 1)
            x = owl.from_numpy(np.full((256, 256), k, np.float32))
            y = ele.tanh(x * 0.01)
            y.start_eval()
            del x
            others = [owl.from_numpy(np.full((256, 256), -1, np.float32)) for _ in range(2)]
            try:
                np.testing.assert_allclose(y.to_numpy(), np.tanh(k * 0.01), rtol=1e-5)
            except owl.ExecutionError as error:
                assert "CUDA_ERROR_INVALID_VALUE" in str(error)
    control.fail("cuEventQuery", 1, 0)
    with gpu:
        assert (owl.from_numpy(np.ones(5, np.float32)) + 1).to_numpy().sum() == 10
    """,
        unseen=True,
    )


def test_the_fallback_takes_a_gpu_that_the_driver_refuses(program):
    # Once, only what could be seen without the driver gave way to a CPU.
    program(
        """
    with pytest.warns(UserWarning, match="CUDA_ERROR_UNKNOWN"):
        control.fail("cuInit", 1, 999)
        device = owl.create_gpu_device(0)
    assert device.name == "cpu:0"
    """,
        device=False,
        OWL_GPU_FALLBACK="cpu",
    )


def test_a_fault_on_the_device(program):
    program(
        """
    cpu = owl.create_cpu_device()
    with gpu:
        before = owl.ones([4]) * 2
        before.wait_for_eval()
        control.break_launch()
        x = owl.zeros([4]) + 7
        later = x * 2
        with pytest.raises(owl.ExecutionError) as caught:
            later.to_numpy()
        assert caught.value.kind == "device"
        assert "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access" in str(caught.value)
        assert caught.value.origins and caught.value.origins[0][1].endswith("program.py")
        for again in (lambda: (owl.ones([3]) + 1).to_numpy(), before.to_numpy):
            with pytest.raises(owl.OwlError) as caught:
                again()
            assert "cannot be used any more" in str(caught.value)
    with cpu:
        assert (owl.ones([3]) + 1).to_numpy().tolist() == [2, 2, 2]
    with pytest.raises(owl.DeviceError) as caught:
        owl.create_gpu_device(0)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(caught.value)
    """,
        checks=False,
    )


def test_a_fault_is_named_exactly_where_each_step_is_waited_for(program):
    program(
        """
    with gpu:
        owl.zeros([4]).wait_for_eval()
        control.break_launch(2)
        fine = owl.zeros([4]) + 7
        fine.wait_for_eval()
        broken = owl.concat([fine, fine], 0)
        with pytest.raises(owl.ExecutionError) as caught:
            broken.to_numpy()
        assert [name for name, _, _ in caught.value.origins] == ["concat"]
    """,
        checks=False,
        OWL_CUDA_BLOCKING="1",
    )


def test_memory_that_is_too_small(program):
    program(
        """
    with gpu:
        kept = owl.zeros([1 << 20]) + 1  # 4 MiB
        kept.wait_for_eval()
        large = owl.zeros([1 << 23]) + 1
        with pytest.raises(owl.OutOfMemoryError) as caught:
            large.to_numpy()
        assert "33554432 bytes were asked for" in str(caught.value)
        assert caught.value.origins
        del large
        assert (kept * 2).to_numpy()[0] == 2
        for k in range(50):  # arrays of many sizes, of which a few have room
            size = (1 << 20) + k * 4096
            assert (owl.zeros([size]) + k).to_numpy()[-1] == k
    """,
        arguments="checked=True, memory=16 << 20",
    )


def test_a_limit(program):
    program("""
    owl.testing.settle()
    was = owl.testing.memory_info(gpu)
    assert was["limit"] == 0
    with gpu, owl.testing.memory_limit(1 << 20, device=gpu):
        x = owl.zeros([1000]) + 1
        x.wait_for_eval()
        with pytest.raises(owl.OutOfMemoryError) as caught:
            (owl.zeros([1 << 20]) + 1).to_numpy()
        assert "the limit is 1048576" in str(caught.value)
        assert (x + 1).to_numpy()[0] == 2
    with gpu:
        assert (owl.zeros([1 << 20]) + 1).to_numpy()[0] == 1
    """)


def test_flat_memory(program):
    program(
        """
    def step(k):
        global weights
        x = owl.from_numpy(np.full((16, 16), k, np.float32))
        weights += x * 0.5
        if k % 10 == 0:
            return weights.to_numpy()
    with gpu:
        weights = owl.zeros([16, 16])
        for k in range(500):
            step(k)
        owl.wait_for_all()
        def sizes():
            memory = owl.testing.memory_info(gpu)
            status = open("/proc/self/status").read()
            resident = int(status.split("VmRSS:")[1].split()[0])
            return memory["in_use"] + memory["cached"], owl.testing.settle()["buffers"], resident
        before = sizes()
        for k in range(10_000):
            step(k)
        owl.wait_for_all()
        after = sizes()
    assert after[0] <= before[0] and after[1] == before[1], (before, after)
    if not os.environ.get("OWL_SANITIZE"):  # which has memory of its own
        assert after[2] < before[2] + (4 << 10), (before, after)
    """,
        arguments="",
        timeout=120,
    )
