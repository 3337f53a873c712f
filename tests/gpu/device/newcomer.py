"""A first program for a GPU, as README has one for a CPU."""

import asyncio

import numpy as np

import owl
import owl.aio


def double(values: np.ndarray) -> np.ndarray:
    return values * 2


async def main() -> None:
    with owl.create_gpu_device(0) as gpu:
        x = owl.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
        y = owl.elewise.relu(x * 2 - 5)
        print((await y).to_numpy().sum())
        first, second = await owl.aio.gather(x + y, x - y)
        print(first.to_numpy()[2, 3], second.to_numpy()[2, 3])

        total = owl.zeros([4, 3])
        batches = [np.full((3, 4), k, np.float32) for k in range(20)]
        async with owl.aio.Pipeline(batches).map(double).to_device(gpu) as pipeline:
            async for batch in pipeline:
                total += batch
        print((await total).to_numpy()[0, 0])
    print(total.device == gpu, gpu.name)


asyncio.run(main())
