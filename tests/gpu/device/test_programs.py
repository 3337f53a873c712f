"""What a program computes on a GPU is what it computes on a CPU."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_a_newcomers_program(python):
    done = python((HERE / "newcomer.py").read_text(), OWL_CUDA_DRIVER="standin")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["81.0", "28.0 -6.0", "380.0", "True gpu:0"]


def test_values_have_the_cpus_bits(program):
    program("""
    cpu = owl.create_cpu_device()
    rng = np.random.default_rng(5)

    def work(x, y, b):
        z = ele.mult(ele.sigm(x), y) + b
        z = ele.where(z > 0.25, ele.tanh(z), ele.exp(-ele.abs(z))) / (ele.sqrt(ele.abs(y)) + 1.5)
        return z, z[:, ::-1], owl.concat([z, z.trans().trans(), z[:, :1]], 1), z.trans()

    for dtype in (np.float32, np.float64):
        for shape in ((1, 1), (5, 7), (300, 130), (2, 513)):
            values = [rng.standard_normal(s).astype(dtype) for s in (shape, shape, (1, shape[1]))]
            found = []
            for device in (cpu, gpu):
                with device:
                    found.append([z.to_numpy() for z in work(*(owl.from_numpy(v, dtype=dtype) for v in values))])
            for a, b in zip(*found):
                assert a.tobytes() == b.tobytes(), (dtype, shape)
    """)


def test_a_cpu_without_fma_rounds_twice(program):
    program(
        """
    x = np.random.default_rng(1).standard_normal(10_000).astype(np.float32)
    found = []
    for device in (owl.create_cpu_device(), gpu):
        with device:
            found.append(ele.exp(owl.from_numpy(x)).to_numpy())
    apart = np.abs(found[0].view(np.int32) - found[1].view(np.int32))
    assert 0 < apart.max() <= 2, apart.max()
    """,
        OWL_ISA="generic",
    )


def test_random_numbers_have_the_cpus_bits(program):
    program("""
    cpu = owl.create_cpu_device()
    found = []
    for device in (cpu, gpu):
        owl.seed(7)
        with device:
            found.append([owl.randn([130, 33], 1.0, 2.0).to_numpy(), owl.randb([77], 0.3).to_numpy()])
    for a, b in zip(*found):
        assert a.tobytes() == b.tobytes()
    """)


def test_transfers_between_all_devices(program):
    program("""
    cpu, other = owl.create_cpu_device(), owl.create_gpu_device(0)
    x = np.arange(1000, dtype=np.float32)
    devices = [cpu, gpu, other]
    for first in devices:
        for second in devices:
            with first:
                y = owl.from_numpy(x) * 2
            there = y.to(second)
            with second:
                z = there + 1
            assert (there.device, z.device) == (second, second)
            np.testing.assert_array_equal(z.to_numpy(), x * 2 + 1)
    """)


def test_what_dlpack_has_of_a_gpu_on_the_host(program):
    program("""
    with gpu:
        x = owl.ones([3, 2]) * 4
        assert x.__dlpack_device__() == (2, 0)
        view = np.from_dlpack(x, device="cpu")
        assert view.shape == (2, 3) and (view == 4).all()
        y = owl.from_dlpack(view)
        assert y.device.name.startswith("cpu:")
    """)


def test_two_gpus(program):
    program(
        """
    other = owl.create_gpu_device(1)
    assert (gpu.name, other.name) == ("gpu:0", "gpu:1")
    with gpu:
        x = owl.ones([500]) * 3
    there = x.to(other)
    with other:
        y = there * 2
    back = y.to(gpu)
    with gpu:
        np.testing.assert_array_equal((back + x).to_numpy(), np.full(500, 9, np.float32))
    """,
        arguments="checked=True, devices=2",
    )


def test_many_outputs_registers_and_scalars_in_one_pass(program):
    program("""
    with gpu:
        x = owl.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
        values = [x * (k + 0.5) + k for k in range(60)]
        total = values[0]
        for value in values[1:]:
            total = ele.maximum(total, value)
        np.testing.assert_array_equal(total.to_numpy(), np.arange(12).reshape(3, 4) * 59.5 + 59)
        for k, value in enumerate(values):
            np.testing.assert_array_equal(value.to_numpy(), np.arange(12).reshape(3, 4) * np.float32(k + 0.5) + k)
    """)


def test_the_source_of_from_numpy_may_change_at_once(program):
    program(
        """
    x = np.zeros(1 << 16, np.float32)
    with gpu:
        arrays = []
        for k in range(50):
            x[:] = k
            arrays.append(owl.from_numpy(x))
        for k, array in enumerate(arrays):
            assert (array.to_numpy() == k).all()
    """
    )


def test_promises(program):
    program("""
    with gpu:
        promise = owl.testing.promise([4])
        later = promise.array * 3
        promise.fulfil(np.arange(4))
        np.testing.assert_array_equal(later.to_numpy(), [0, 3, 6, 9])
        failing = owl.testing.promise([4])
        after = failing.array + 1
        failing.fail("no luck")
        with pytest.raises(owl.ExecutionError) as caught:
            after.to_numpy()
        assert "no luck" in str(caught.value)
    """)


def test_a_loop_that_is_far_ahead_holds_its_weights_once(program):
    program("""
    with gpu:
        weights = owl.zeros([512, 512]) + 1
        for k in range(300):
            weights += owl.from_numpy(np.full((512, 1), k, np.float32)) * 0.5
        assert (weights.to_numpy() == 1 + 0.5 * sum(range(300))).all()
    memory = owl.testing.memory_info(gpu)
    assert memory["peak"] <= 3 << 20, memory
    """)


@pytest.mark.parametrize("seed", range(4))
def test_late_and_in_any_order(program, seed):
    program(
        """
    with gpu:
        total = owl.zeros([64])
        for k in range(40):
            x = owl.from_numpy(np.full(64, k, np.float32))
            total += x * 2
            if k % 7 == 0:
                assert (x.to_numpy() == k).all()
        assert (total.to_numpy() == 2 * sum(range(40))).all()
    """,
        arguments=f"checked=True, lazy=True, seed={seed}",
    )


def test_the_example_of_the_page_about_devices(python):
    page = (HERE.parents[2] / "docs" / "devices.md").read_text()
    examples = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    [example] = [text for text in examples if "standin(" in text]
    done = python(example)
    assert (done.stdout, done.stderr) == ("[0. 2. 4.] gpu:1\n", "")


def test_a_value_goes_to_the_host_and_back_in_one_plan(program):
    # Once, it was copied back as if it lay on the device.
    program("""
    cpu = owl.create_cpu_device()
    with gpu:
        x = owl.ones([100]) * 3
        back = x.to(cpu).to(gpu) + 1
        assert (back.to_numpy() == 4).all()
    """)
