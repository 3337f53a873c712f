"""The stream that owl computes on, for a user's own work."""


def test_the_stream_is_cupys(program):
    program("""
    assert isinstance(gpu.stream.ptr, int)
    assert gpu.stream is gpu.stream
    other = owl.create_gpu_device(0)
    assert other.stream.ptr != gpu.stream.ptr
    try:
        owl.create_cpu_device().stream
    except owl.DeviceError as error:
        assert "cpu:2 has no stream" in str(error)
    else:
        raise AssertionError
    """)


def test_work_of_ones_own_before_and_after(program):
    # Before: an event on a stream of one's own, which owl's stream waits for. After: an event on owl's stream. Without
    # them the stand-in names the pairs.
    program("""
    import ctypes
    from owl import _runtime
    from owl.testing._standin import cupy

    driver = ctypes.CDLL(str(control.path))
    with gpu:
        x = owl.zeros([256]) + 1
        x.wait_for_eval()
        address = _runtime.buffer_address(x)
        device = cupy.cuda.Device(0)
        with device:
            mine = cupy.cuda.Stream(non_blocking=True)
            done = cupy.cuda.Event(block=True, disable_timing=True)

            def handle(value):
                return ctypes.c_void_p(value)

            def copy(stream):
                zeros = (ctypes.c_float * 256)(*[5.0] * 256)
                to, size = ctypes.c_uint64(address), ctypes.c_size_t(1024)
                assert not driver.cuMemcpyHtoDAsync_v2(to, zeros, size, handle(stream.ptr))

            copy(mine)  # before: what owl issues from now on comes after it
            assert not driver.cuEventRecord(handle(done.ptr), handle(mine.ptr))
            assert not driver.cuStreamWaitEvent(handle(gpu.stream.ptr), handle(done.ptr), 0)
            y = x + 1
            y.wait_for_eval()
            assert (y.to_numpy() == 6).all()
            z = x * 2  # after: work of one's own on owl's stream, or behind an event that was recorded there
            z.wait_for_eval()
            copy(gpu.stream)
        assert (z.to_numpy() == 10).all()
    """)
