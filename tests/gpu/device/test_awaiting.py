"""What a task sees of a GPU: it waits for values, and the event loop does not."""


def test_a_value_comes_to_numpy_while_the_device_is_busy(program):
    program(
        """
    import asyncio

    async def main():
        x = owl.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
        done = await (x * 2)
        with owl.testing.kernel_delay(300_000):  # the device's thread is held before each kernel
            busy = (x + 1).eval()
            turns, task = 0, asyncio.create_task(owl.aio.to_numpy(done))
            while not task.done():
                await asyncio.sleep(0)
                turns += 1
            await busy
        assert (await task).tolist() == (np.arange(12).reshape(3, 4) * 2).tolist()
        assert turns > 100, turns
        loss = await owl.aio.to_numpy((x * x.trans()).sum(0).sum(1))
        assert loss.tolist() == [[1964.0]]

    with gpu:
        asyncio.run(main())
    """
    )


def test_the_value_is_that_of_the_call_and_failures_name_their_line(program):
    program(
        """
    import asyncio

    async def main():
        x = owl.ones([3])
        before = asyncio.create_task(owl.aio.to_numpy(x))
        await asyncio.sleep(0)
        x += 1
        assert (await before).tolist() == [1, 1, 1]
        with owl.testing.faults("exp"):
            with pytest.raises(owl.ExecutionError, match=r"exp.*program.py"):
                await owl.aio.to_numpy(ele.exp(x))

    with gpu:
        asyncio.run(main())
    """
    )
