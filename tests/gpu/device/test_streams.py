"""The stream that owl computes on, for a user's own work."""


def test_the_stream_is_cupys(program):
    program("""
    assert isinstance(gpu.stream.ptr, int)
    assert gpu.stream is gpu.stream
    other = owl.create_gpu_device(0)
    assert other.stream.ptr != gpu.stream.ptr
    with pytest.raises(owl.DeviceError) as caught:
        owl.create_cpu_device().stream
    assert "cpu:2 has no stream" in str(caught.value)
    """)


def test_work_of_ones_own_before_and_after(program):
    # Before: owl's stream waits for an event of one's own. After: one's own stream waits for an event on owl's. Without
    # these waits the stand-in names the pairs.
    program("""
    import ctypes
    from owl import _runtime
    from owl.testing._standin import cupy

    driver = ctypes.CDLL(str(control.path))

    def fill(address, value, stream):
        numbers = (ctypes.c_float * 256)(*[value] * 256)
        to, size = ctypes.c_uint64(address), ctypes.c_size_t(1024)
        assert not driver.cuMemcpyHtoDAsync_v2(to, numbers, size, ctypes.c_void_p(stream.ptr))

    with gpu, cupy.cuda.Device(0):
        x = owl.zeros([256]) + 1
        x.wait_for_eval()
        address = _runtime.buffer_address(x)
        mine = cupy.cuda.Stream(non_blocking=True)
        fill(address, 5, mine)
        gpu.stream.wait_event(mine.record())  # what owl submits from now on comes after
        y = x + 1
        assert (y.to_numpy() == 6).all()
        mine.wait_event(gpu.stream.record())  # after all that owl has submitted
        fill(address, 7, mine)
        gpu.stream.wait_event(mine.record())
        assert ((x * 2).to_numpy() == 14).all()
    """)


def test_work_of_ones_own_without_an_order_is_found(program):
    program(
        """
    import ctypes
    from owl import _runtime
    from owl.testing._standin import cupy

    driver = ctypes.CDLL(str(control.path))
    with gpu, cupy.cuda.Device(0):
        x = owl.zeros([256]) + 1
        x.wait_for_eval()
        mine = cupy.cuda.Stream(non_blocking=True)
        numbers = (ctypes.c_float * 256)()
        to, size = ctypes.c_uint64(_runtime.buffer_address(x)), ctypes.c_size_t(1024)
        assert not driver.cuMemcpyHtoDAsync_v2(to, numbers, size, ctypes.c_void_p(mine.ptr))
        (x + 1).wait_for_eval()
    assert control.problems()
    """
    )
