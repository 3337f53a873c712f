"""Loading for a GPU: batches are stacked in pinned memory, from which the device copies by itself."""


def test_batches_are_stacked_where_the_device_copies_from(program):
    program("""
    from owl.aio.pipeline import buffers

    given = []
    original = buffers.staging_memory
    def watched(size, device):
        memory = original(size, device)
        given.append(memory is not None)
        return memory
    buffers.staging_memory = watched

    images = [np.full((32, 32), k, np.float32) for k in range(64)]
    pipeline = owl.aio.Pipeline(range(64)).map(images.__getitem__).batch(32).to_device(gpu)
    total = 0.0
    for epoch in range(5):
        for batch in pipeline:
            assert batch.device == gpu
            with gpu:
                total += float((batch * 2).to_numpy().sum())
        if epoch == 1:
            pinned, made = control.calls("cuMemHostAlloc"), len(given)
    assert total == 5 * 2 * 1024 * sum(range(64)), total
    assert all(given) and given
    assert len(given) == made, "memory comes back"
    assert control.calls("cuMemHostAlloc") == pinned
    """)


def test_borrowed_pageable_memory(program):
    program("""
    x = np.arange(1 << 16, dtype=np.float32)
    with gpu:
        y = owl.from_numpy(x, copy=False)
        assert (y + 1).to_numpy()[-1] == 1 << 16
    """)


def test_worker_processes_leave_the_driver_alone(python):
    done = python("""
import numpy as np
import owl
import owl.aio
import owl.testing

def double(k):
    return np.full((100, 100), 2 * k, np.float32)

if __name__ == "__main__":
    control = owl.testing.standin(checked=True)
    gpu = owl.create_gpu_device(0)
    with gpu:
        (owl.ones([3]) + 1).wait_for_eval()
        pipeline = owl.aio.Pipeline(range(24)).map(double, executor="process", concurrency=2).batch(4).to_device(gpu)
        total = 0.0
        for batch in pipeline:
            total += float((batch + 0).to_numpy().sum())
    assert total == 2 * 10000 * sum(range(24)), total
    assert not control.problems()
""")
    assert (done.returncode, done.stderr) == (0, "")
