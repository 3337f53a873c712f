"""owl.explain says how steps are executed on a GPU: in a graph, by cuBLAS, by a kernel of their own."""

STEPS = """
def step():
    with gpu:
        x = owl.from_numpy(np.ones((40, 30), np.float32))
        for _ in range(3):
            x = owl.conv.softmax(ele.tanh(x * 0.5))
        return x.to_numpy()
"""


def test_kernels_in_a_graph(program):
    program(
        STEPS,
        """
    step()
    assert "in a graph" not in owl.explain(last=1)
    for _ in range(6):
        step()
    text = owl.explain(last=2)
    assert "6 kernels in a graph: 0 to 5" in text, text
    """,
    )


def test_no_graph(program):
    program(
        STEPS,
        """
    for _ in range(8):
        step()
    assert "in a graph" not in owl.explain(last=8)
    """,
        OWL_CUDA_GRAPHS="0",
    )


def test_specialized_programs(program):
    program(
        """
    from owl.testing import specialized_kernels as kernels

    def step():
        with gpu:
            return (ele.tanh(owl.from_numpy(np.ones((40, 30), np.float32))) * 2).to_numpy()

    step()
    assert "specialized" not in owl.explain(last=1)
    step()
    assert kernels(wait=True)["made"] == 1
    step()
    assert "kernel 0: elementwise, specialized, 2 operations fused" in owl.explain(last=1)
    for form in "dot", "svg":
        assert "kernel 0: elementwise, specialized" in owl.explain(last=1, format=form)
    """,
        OWL_CUDA_JIT_RUNS="2",
    )


def test_what_follows_cublas(program):
    program(
        """
    with gpu:
        x = owl.from_numpy(np.ones((20, 20), np.float32))
        text = owl.explain(ele.relu(x * x + 1))
    assert "kernel 0: cublas" in text, text
    assert "not fused with kernel 0: cuBLAS computes the whole product" in text, text
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_steps_of_several_launches(program):
    program(
        """
    with gpu:
        long = owl.explain(owl.from_numpy(np.ones(1 << 20, np.float32)).sum())
        short = owl.explain(owl.from_numpy(np.ones(100, np.float32)).sum())
    assert "kernel 0: reduce, 2 launches" in long, long
    assert "launches" not in short, short
    """,
    )


def test_kernels_of_two_devices(program):
    program(
        """
    with gpu:
        x = owl.from_numpy(np.ones(30, np.float32)) + 1
    cpu = owl.create_cpu_device()
    with cpu:
        text = owl.explain(x.to(cpu) * 2)
    assert "kernel 0 on gpu:0: elementwise" in text, text
    assert f"kernel 0 on {cpu.name}: elementwise" in text, text
    """,
    )
