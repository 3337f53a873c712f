"""CUDA graphs of plans: the same bits, the order that is needed and no other, and no harm where they cannot be had."""

import pytest

# Gradient descent on the device and on a CPU, each step a plan's run; another width of the hidden layer, another plan.
TRAINING = """
def train(device, steps=6, hidden=16, seed=0):
    values = np.random.default_rng(seed)
    with device:
        w1, w2 = (owl.from_numpy(values.normal(size=s).astype(np.float32)) for s in ((20, hidden), (hidden, 5)))
        b1, b2 = owl.zeros([hidden, 1]), owl.zeros([5, 1])
        for k in range(steps):
            data = owl.from_numpy(values.normal(size=(8, 20)).astype(np.float32))
            label = owl.from_numpy(np.eye(5, dtype=np.float32)[values.integers(0, 5, 8)])
            a1 = ele.relu(w1 * data + b1)
            s2 = owl.conv.cross_entropy_back(w2 * a1 + b2, label)
            s1 = ele.relu_back(w2.trans() * s2, a1)
            w1, b1 = w1 - 0.1 * (s1 * data.trans()), b1 - 0.1 * s1.sum(1)
            w2, b2 = w2 - 0.1 * (s2 * a1.trans()), b2 - 0.1 * s2.sum(1)
            owl.wait_for_all()
        return [x.to_numpy().tobytes() for x in (w1, b1, w2, b2)]

def same(**options):
    return train(gpu, **options) == train(owl.create_cpu_device(), **options)
"""


@pytest.mark.parametrize("lazy", [False, True])
def test_a_loop_is_launched_as_graphs_with_the_same_bits(program, lazy):
    program(
        TRAINING,
        """
    for _ in range(2):  # the first step is another plan: what it reads is still on its way
        assert same(steps=12)
    assert control.calls("cuGraphLaunch") >= 18
    launches = control.calls("cuLaunchKernel")
    assert same(steps=12)
    assert control.calls("cuLaunchKernel") == launches
    """,
        arguments=f"checked=True, lazy={lazy}",
    )


def test_no_graph_is_built_where_that_is_switched_off(program):
    program(TRAINING, "assert same() and not control.calls('cuGraphCreate')", OWL_CUDA_GRAPHS="0")


def test_a_blocking_device_has_no_graphs(program):
    program(TRAINING, "assert same() and not control.calls('cuGraphCreate')", OWL_CUDA_BLOCKING="1")


def test_an_unknown_setting_is_refused(program):
    program(
        """
    with pytest.raises(owl.OwlError, match="OWL_CUDA_GRAPHS"):
        owl.create_gpu_device(0)
    """,
        device=False,
        OWL_CUDA_GRAPHS="sometimes",
    )


def test_steps_wait_for_those_that_they_need_alone(program):
    program(
        """
    with gpu:
        x = owl.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
        y = owl.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
        owl.wait_for_all()
        left, right = x * x.trans(), y * y.trans()  # neither needs the other
        both = left * right
        top = both.max(0)
        owl.wait_for_all()
    graph = control.last_graph()
    products = [k for k, (name, _) in enumerate(graph) if name.startswith("gemm")]
    assert len(products) == 3 and len(graph) == 4
    assert [graph[k][1] for k in products[:2]] == [[], []]
    assert sorted(graph[products[2]][1]) == products[:2]
    assert graph[3][1] == [products[2]]  # and so after the others
    """,
        OWL_CUDA_GRAPHS="always",
    )


def test_memory_of_the_arena_is_written_again_only_when_it_was_read(program):
    # Of a long chain of values that nothing stores, later ones take the memory of earlier ones.
    program(
        """
    def chain(device):
        with device:
            x = owl.from_numpy(np.arange(16, dtype=np.float32).reshape(4, 4) / 16)
            a, b = x, x.trans() * 1
            for _ in range(12):
                a, b = ele.tanh(a * b), b * a.trans() * 0.5
            top = (a * b).to_numpy()
            return top.tobytes(), a.to_numpy().tobytes(), b.to_numpy().tobytes()
    there = chain(gpu)
    assert control.calls("cuGraphLaunch") and not control.calls("cuLaunchKernel")
    assert there == chain(owl.create_cpu_device())
    """,
        arguments="checked=True, lazy=True",
        OWL_CUDA_GRAPHS="always",
    )


def test_a_copy_to_the_host_comes_after_the_graph(program):
    program(
        """
    cpu = owl.create_cpu_device()
    def chain(device, k):
        with device:
            x = owl.from_numpy(np.full((4, 4), k, np.float32))
            y = (x * x) * 0.5
            z = (y * y).max(0)
            return z.to(cpu) + 1
    for k in range(8):
        assert chain(gpu, k).to_numpy().tobytes() == chain(cpu, k).to_numpy().tobytes()
    assert control.calls("cuGraphLaunch") == 8
    assert control.calls("cuMemcpyDtoHAsync_v2") == 8
    assert not control.calls("cuLaunchKernel")
    """,
        arguments="checked=True, lazy=True",
        OWL_CUDA_GRAPHS="always",
    )


@pytest.mark.parametrize(
    "symbol",
    ["cuGraphCreate", "cuGraphAddKernelNode_v2", "cuGraphInstantiateWithFlags", "cuGraphExecKernelNodeSetParams_v2",
     "cuGraphLaunch", "cuGraphExecDestroy", "cuGraphDestroy"],
)  # fmt: skip
def test_steps_are_launched_by_themselves_where_the_driver_refuses_a_graph(program, symbol):
    program(
        TRAINING,
        f"""
    for nth in (1, 2, 5):
        control.fail({symbol!r}, nth, 801)
    for hidden in range(16, {90 if "Destroy" in symbol else 28}):  # graphs are destroyed where there are many
        assert same(steps=6, hidden=hidden)
    assert control.calls({symbol!r}) >= 5, control.calls({symbol!r})
    """,
        timeout=120,
    )


def test_graphs_are_few_however_many_plans_there_are(program):
    program(
        TRAINING,
        """
    for _ in range(2):
        for hidden in range(16, 96):
            assert same(steps=4, hidden=hidden)
    made, gone = control.calls("cuGraphInstantiateWithFlags"), control.calls("cuGraphExecDestroy")
    assert made >= 150 and 48 <= made - gone <= 80, (made, gone)
    assert gone == control.calls("cuGraphDestroy")
    """,
        timeout=120,
    )


def test_graphs_of_plans_that_are_gone_are_destroyed(program):
    program(
        TRAINING,
        """
    from owl import _runtime
    for round in range(40):  # owl.explain() can still tell of the plans that ran last
        assert same(steps=5)
        _runtime.clear_plans()
    made, gone = control.calls("cuGraphInstantiateWithFlags"), control.calls("cuGraphExecDestroy")
    assert made >= 40 and gone > made / 2, (made, gone)
    """,
    )


def test_faults_are_injected_into_single_steps(program):
    program(
        TRAINING,
        """
    assert same(steps=8)
    with gpu:
        for _ in range(4):
            x = owl.ones([3, 3])
            y = (x * x) * 0.5
            z = ele.tanh(y * y)
            owl.wait_for_all()
        with owl.testing.faults("tanh"):
            x = owl.ones([3, 3])
            y = (x * x) * 0.5
            z = ele.tanh(y * y)
            with pytest.raises(owl.ExecutionError):
                z.to_numpy()
            assert y.to_numpy()[0, 0] == 1.5
    assert same(steps=8)
    """,
    )


def test_a_graph_that_breaks_the_device_fails_what_it_computes(program):
    program(
        TRAINING,
        """
    train(gpu, steps=6)
    control.break_launch(9)
    with pytest.raises(owl.ExecutionError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        train(gpu, steps=6)
    owl.testing.settle()
    control.reset_problems()
    """,
        unseen=True,
    )
