"""What goes wrong in the driver, on the device, or beside them: told clearly, and what follows works."""

import pytest

CALLS = {
    # The symbol, and CUDA's code for it.
    "cuMemAlloc_v2": 2,
    "cuMemHostAlloc": 2,
    "cuMemFree_v2": 1,
    "cuMemFreeHost": 1,
    "cuMemcpyHtoDAsync_v2": 1,
    "cuMemcpyDtoHAsync_v2": 1,
    "cuMemcpyPeerAsync": 1,
    "cuLaunchKernel": 701,
    "cuEventRecord": 1,
    "cuEventQuery": 1,
    "cuEventSynchronize": 1,
    "cuStreamWaitEvent": 1,
    "cuStreamSynchronize": 1,
    "cuCtxPushCurrent_v2": 201,
    "cuCtxPopCurrent_v2": 201,
}

# Everything that calls the driver once a device is there.
WORK = """
other, cpu = owl.create_gpu_device(1), owl.create_cpu_device()

def work(k):
    with gpu:
        x = owl.from_numpy(np.full((64, 64), k, np.float32))
        y = ele.tanh(x * 2 + 1)
        z = y.to(other)
    with other:
        w = z + 1
    found = w.to(cpu).to_numpy()
    owl.testing.trim_memory(gpu)
    return found

def expected(k):
    with cpu:
        return (ele.tanh(owl.from_numpy(np.full((64, 64), k, np.float32)) * 2 + 1) + 1).to_numpy()
"""


@pytest.mark.parametrize("symbol", CALLS)
def test_a_call_that_fails_once(program, symbol):
    program(
        WORK
        + f"""
    symbol, code = {symbol!r}, {CALLS[symbol]}
    work(0)
    told = 0
    for nth in (1, 2, 3):
        control.fail(symbol, nth, code)
        for k in range(3):
            try:
                values = work(k)
            except (owl.OwlError, MemoryError) as error:
                told += 1
                text = str(error)
                assert "CUDA" in text or "memory" in text, text
            else:
                assert values.tobytes() == expected(k).tobytes()
    for k in range(3):
        assert work(k).tobytes() == expected(k).tobytes()
    owl.testing.settle()
    """,
        "checked=True, devices=2",
        checks=False,
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
    try:
        owl.create_gpu_device(0)
    except owl.DeviceError as error:
        assert "GPU 0 cannot be used: CUDA_ERROR_UNKNOWN" in str(error), error
    else:
        raise AssertionError
    with owl.create_gpu_device(0):
        assert (owl.ones([2]) * 3).to_numpy().tolist() == [3, 3]
    """
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
        try:
            later.to_numpy()
        except owl.ExecutionError as error:
            assert error.kind == "device", error.kind
            assert "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access" in str(error), error
            assert error.origins and error.origins[0][1].endswith("program.py"), error.origins
        else:
            raise AssertionError
        for again in (lambda: (owl.ones([3]) + 1).to_numpy(), before.to_numpy):
            try:
                again()
            except owl.OwlError as error:
                assert "cannot be used any more" in str(error), error
            else:
                raise AssertionError
    with cpu:
        assert (owl.ones([3]) + 1).to_numpy().tolist() == [2, 2, 2]
    try:
        owl.create_gpu_device(0)
    except owl.DeviceError as error:
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(error)
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
        try:
            broken.to_numpy()
        except owl.ExecutionError as error:
            assert [name for name, _, _ in error.origins] == ["concat"], error.origins
        else:
            raise AssertionError
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
        try:
            large.to_numpy()
        except owl.OutOfMemoryError as error:
            assert "33554432 bytes were asked for" in str(error), error
            assert error.origins
        else:
            raise AssertionError
        del large
        assert (kept * 2).to_numpy()[0] == 2
        for k in range(50):  # arrays of many sizes, of which a few have room
            size = (1 << 20) + k * 4096
            assert (owl.zeros([size]) + k).to_numpy()[-1] == k
    """,
        "checked=True, memory=16 << 20",
    )


def test_a_limit(program):
    program("""
    owl.testing.settle()
    was = owl.testing.memory_info(gpu)
    assert was["limit"] == 0
    with gpu, owl.testing.memory_limit(1 << 20, device=gpu):
        x = owl.zeros([1000]) + 1
        x.wait_for_eval()
        try:
            (owl.zeros([1 << 20]) + 1).to_numpy()
        except owl.OutOfMemoryError as error:
            assert "the limit is 1048576" in str(error)
        else:
            raise AssertionError
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
        "",
        timeout=120,
    )
