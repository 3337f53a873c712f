"""Large products by cuBLAS: which ones, with which arguments, and what happens where it cannot be used.

The stand-in's cuBLAS computes by owl's own kernel, so the bits are the CPU's. Tests lower the border, so that small
products go there.
"""

import os
import subprocess
import sys

import pytest

N, T = 0, 1
FLOAT, DOUBLE, TF32 = 68, 70, 77  # cuBLAS's numbers of how it computes

PRODUCT = """
cpu = owl.create_cpu_device()

def matrix(rows, columns, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((columns, rows)).astype(dtype)  # NumPy's order is the other one

def on(device, compute, *arrays):
    with device:
        return compute(*(owl.from_numpy(x, dtype=x.dtype) for x in arrays)).to_numpy()

def same(compute, *arrays):
    assert on(gpu, compute, *arrays).tobytes() == on(cpu, compute, *arrays).tobytes()
"""

PRODUCTS = [
    # the product of what is recorded, the sizes of both operands, the call's transpositions and leading dimensions
    ("x * y", (5, 7), (7, 3), (N, N, 5, 7)),
    ("x.trans() * y", (7, 5), (7, 3), (T, N, 7, 7)),
    ("x * y.trans()", (5, 7), (3, 7), (N, T, 5, 3)),
    ("x.trans() * y.trans()", (7, 5), (3, 7), (T, T, 7, 3)),
    ("x.trans().trans() * y", (5, 7), (7, 3), (N, N, 5, 7)),
    ("x * y", (70, 90), (90, 40), (N, N, 70, 90)),
    ("x * y", (5, 7), (7, 1), (N, N, 5, 7)),
    ("x * y", (1, 7), (7, 3), (N, N, 1, 7)),
    ("x * y", (5, 1), (1, 3), (N, N, 5, 1)),
    ("x.trans() * y", (1, 5), (1, 3), (T, N, 1, 1)),
    ("x * y", (1, 1), (1, 1), (N, N, 1, 1)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("text", "x", "y", "call"), PRODUCTS)
def test_a_product(program, text, x, y, call, dtype):
    transpose_a, transpose_b, lda, ldb = call
    m, n = x[transpose_a], y[1 - transpose_b]
    expected = {
        "transpose_a": transpose_a,
        "transpose_b": transpose_b,
        "m": m,
        "n": n,
        "k": x[1 - transpose_a],
        "lda": lda,
        "ldb": ldb,
        "ldc": m,
        "type": int(dtype == "float64"),
        "compute": FLOAT if dtype == "float32" else DOUBLE,
    }
    program(
        PRODUCT,
        f"""
    same(lambda x, y: {text}, matrix(*{x}, "{dtype}"), matrix(*{y}, "{dtype}", 1))
    [product] = control.products()
    assert product.items() >= {expected}.items(), product
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_where_a_dimension_is_0(program):
    program(
        PRODUCT,
        """
    for m, n, k in (0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0):
        same(lambda x, y: x * y, matrix(m, k), matrix(k, n))
        same(lambda x, y: x.trans() * y, matrix(k, m), matrix(k, n))
    assert not control.products()
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_shapes_alone_decide(program):
    program(
        PRODUCT,
        """
    def is_asked(m, n, k):
        same(lambda x, y: x * y, matrix(m, k), matrix(k, n))
        return len(control.products())
    assert is_asked(16, 16, 16)
    assert not is_asked(16, 16, 15)
    assert is_asked(64, 2, 32)     # no side is shorter than an eighth of the border
    assert not is_asked(4096, 1, 1)
    assert not is_asked(1, 4096, 1)
    assert not is_asked(64, 64, 1)
    """,
        OWL_CUBLAS_BORDER="16",
    )


def test_small_products_are_owls_own(program):
    program(
        PRODUCT,
        """
    same(lambda x, y: x * y, matrix(64, 64), matrix(64, 64))
    assert not control.products()
    assert control.calls("cublasCreate_v2") == 1
    """,
    )


def test_what_follows_a_product_is_a_pass_of_its_own(program):
    program(
        PRODUCT,
        """
    def layer(w, x, b):
        z = w * x + b
        return ele.relu(z) + z.sum(1) * 0.5

    arrays = matrix(6, 20), matrix(20, 9), matrix(6, 1)
    same(layer, *arrays)
    assert len(control.products()) == 1
    with gpu:
        w, x, b = map(owl.from_numpy, arrays)
        text = owl.explain(ele.relu(w * x + b))
        assert "cublas" in text and "elementwise" in text and "gemm" not in text, text
        product = w * x  # and one that is seen as well
        y = ele.tanh(product)
        owl.wait_for_all()
        kept = product.to_numpy().tobytes(), y.to_numpy().tobytes()
    with cpu:
        w, x, b = map(owl.from_numpy, arrays)
        product = w * x
        assert kept == (product.to_numpy().tobytes(), ele.tanh(product).to_numpy().tobytes())
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_fused_and_unfused_are_the_same_bits(program):
    program(
        PRODUCT,
        """
    def step(x, y, b):
        return ele.sigm(x.trans() * y + b) * 2

    arrays = matrix(20, 6), matrix(20, 9), matrix(6, 1)
    fused = on(gpu, step, *arrays)
    with owl.testing.unfused():
        assert on(gpu, step, *arrays).tobytes() == fused.tobytes()
    assert [product["transpose_a"] for product in control.products()] == [1, 0]
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_precision(program):
    program(
        PRODUCT,
        f"""
    def computed(precision, dtype=np.float32):
        owl.set_matmul_precision(precision)
        x, y = matrix(9, 8, dtype), matrix(8, 7, dtype, 1)
        on(gpu, lambda x, y: x * y, x, y)
        [product] = control.products()
        return product["compute"]

    assert computed("highest") == {FLOAT}
    assert computed("high") == {TF32}
    assert computed("highest") == {FLOAT}
    assert computed("high", np.float64) == {DOUBLE}

    # A plan for each, and each is known from then on.
    before = owl.testing.planner_counters()
    for precision in ("highest", "high") * 5:
        computed(precision)
    after = owl.testing.planner_counters()
    assert after["plans"] - before["plans"] == after["hits"] - before["hits"] == 10

    # The one under which it was recorded.
    with gpu:
        x = owl.from_numpy(matrix(9, 9))
        owl.set_matmul_precision("high")
        rounded = x * x
        owl.set_matmul_precision("highest")
        exact = x * x
        text = owl.explain(rounded + exact)  # two values, though their operands are the same
        assert "cublas_tf32" in text and text.count("cublas") == 2, text
        (rounded + exact).to_numpy()
    assert sorted(product["compute"] for product in control.products()) == [{FLOAT}, {TF32}]
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_a_loop_whose_precision_changes(program):
    # The window's plan is another one from the step on that changes it, and back.
    program(
        PRODUCT,
        f"""
    expected = []
    with gpu:
        w = owl.from_numpy(matrix(8, 8))
        for k in range(60):
            precision = "high" if k // 10 % 2 else "highest"
            owl.set_matmul_precision(precision)
            expected.append({TF32} if precision == "high" else {FLOAT})
            w = ele.tanh(w * w) * 0.5
        w.to_numpy()
    assert [product["compute"] for product in control.products()] == expected
    """,
        OWL_CUBLAS_BORDER="1",
    )


@pytest.mark.parametrize(("memory", "workspace"), [(64 << 30, 32 << 20), (1 << 30, 4 << 20)])
def test_each_device_has_a_handle_a_stream_and_a_workspace(program, memory, workspace):
    program(
        PRODUCT,
        f"""
    other = owl.create_gpu_device(0)
    third = owl.create_gpu_device(1)
    x, y = matrix(40, 30), matrix(30, 20, seed=1)
    for k in range(3):
        pending = []
        for device in (gpu, other, third):
            with device:
                pending.append(owl.from_numpy(x) * owl.from_numpy(y))
                pending[-1].start_eval()
        assert len({{value.to_numpy().tobytes() for value in pending}}) == 1
    products = control.products()
    assert len(products) == 9
    assert len({{(product["handle"], product["stream"]) for product in products}}) == 3
    assert len({{product["handle"] for product in products}}) == len({{product["stream"] for product in products}}) == 3
    assert {{product["workspace"] for product in products}} == {{{workspace}}}
    """,
        arguments=f"checked=True, devices=2, memory={memory}",
        OWL_CUBLAS_BORDER="1",
    )


REFUSED = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    gpu = owl.create_gpu_device(0)
    control.fail(SYMBOL, 1, CODE)
    other = owl.create_gpu_device(0)
[warning] = caught
assert "cuBLAS cannot be used on GPU 0, so owl's own kernels compute all products: " in str(warning.message)
assert TEXT in str(warning.message), warning.message
assert TEXT in _runtime.config()["cublas"]
"""


@pytest.mark.parametrize(
    ("symbol", "code", "text"),
    [
        ("cublasCreate_v2", 3, "CUBLAS_STATUS_ALLOC_FAILED"),
        ("cublasSetStream_v2", 1, "CUBLAS_STATUS_NOT_INITIALIZED"),
        ("cublasSetWorkspace_v2", 7, "CUBLAS_STATUS_INVALID_VALUE"),
        ("cuMemAlloc_v2", 2, "a workspace of 8388608 bytes: CUDA_ERROR_OUT_OF_MEMORY"),
    ],
)
def test_a_handle_that_cannot_be_made(program, symbol, code, text):
    program(
        "from owl import _runtime",
        REFUSED.replace("SYMBOL", f"{symbol!r}")
        .replace("CODE", str(code))
        .replace("TEXT", f"{text!r}")
        .replace("    gpu = owl.create_gpu_device(0)\n", "", 1),
        PRODUCT,
        """
    gpu = other
    same(lambda x, y: ele.relu(x * y + 1), matrix(20, 30), matrix(30, 20))
    assert not control.products()
    with gpu:
        x = owl.ones([20, 20])
        assert "gemm" in owl.explain(x * x)
    assert control.calls("cublasDestroy_v2") == (control.calls("cublasCreate_v2") if DESTROYED else 0)
    with owl.create_gpu_device(0):  # which has one
        (x * x).to_numpy()
    assert len(control.products()) == 1
    """.replace("DESTROYED", str(symbol != "cublasCreate_v2")),
        device=False,
        OWL_CUBLAS_BORDER="1",
    )


def test_only_one_warning(program):
    program(
        """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            control.fail("cublasCreate_v2", 1, 3)
            owl.create_gpu_device(0)
    assert len(caught) == 1
    """,
        device=False,
    )


def test_a_library_that_is_none(program):
    program(
        """
    from owl._cuda import cublas
    cublas.library = lambda: "libm.so.6"
    with pytest.warns(UserWarning, match="libm.so.6 has no cublasCreate_v2"):
        owl.create_gpu_device(0)
    """,
        device=False,
    )


def test_where_it_is_not_installed(program):
    program(
        PRODUCT,
        """
    from owl import _runtime
    from owl._cuda import cublas
    assert "GPU device is created" not in _runtime.config()["cublas"]
    cublas.library = lambda: None
    gpu = owl.create_gpu_device(0)  # without a word
    assert "pip install" in _runtime.config()["cublas"]
    same(lambda x, y: x * y, matrix(20, 30), matrix(30, 20))
    assert not control.products()
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_off(program):
    program(
        PRODUCT,
        """
    from owl import _runtime
    same(lambda x, y: x * y, matrix(20, 30), matrix(30, 20))
    assert not control.calls("cublasCreate_v2")
    assert "OWL_CUBLAS=0" in _runtime.config()["cublas"]
    """,
        OWL_CUBLAS_BORDER="1",
        OWL_CUBLAS="0",
    )


@pytest.mark.parametrize(
    ("name", "value"), [("OWL_CUBLAS", "yes"), ("OWL_CUBLAS_BORDER", "0"), ("OWL_CUBLAS_BORDER", "x")]
)
def test_an_unknown_setting(python, name, value):
    done = python("import owl", **{name: value})
    assert done.returncode != 0
    assert f"{name} is" in done.stderr.splitlines()[-1]


def test_a_product_that_fails(program):
    program(
        PRODUCT,
        """
    with gpu:
        x = owl.from_numpy(matrix(20, 20))
        y = x + 1
        y.wait_for_eval()
        control.fail("cublasGemmEx", 1, 13)
        product = x * y
        after = product + 1
        with pytest.raises(owl.ExecutionError) as caught:
            after.to_numpy()
        assert "cuBLAS: CUBLAS_STATUS_EXECUTION_FAILED" in str(caught.value)
        assert caught.value.kind == "device"
        assert [name for name, _, _ in caught.value.origins] == ["matmul"]
        assert np.allclose((y - x).to_numpy(), 1)
    same(lambda x: x * x + 1, matrix(20, 20))
    """,
        OWL_CUBLAS_BORDER="1",
    )


def test_a_fault_inside_a_product(program):
    program(
        PRODUCT,
        """
    with gpu:
        x = owl.from_numpy(matrix(20, 20))
        x.wait_for_eval()
        control.break_launch()
        with pytest.raises(owl.ExecutionError) as caught:
            (x * x).to_numpy()
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in str(caught.value)
        with pytest.raises(owl.ExecutionError) as caught:
            (x * x).to_numpy()
        assert "cannot be used any more" in str(caught.value)
    """,
        checks=False,
        OWL_CUBLAS_BORDER="1",
    )


PENDING = """
def pending():
    x = owl.from_numpy(matrix(60, 60))
    for k in range(40):
        x = ele.tanh(x * x)
    return x
with gpu:
    pending().to_numpy()
    x = pending()
    x.start_eval()
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "os._exit(0)"])
def test_the_end_of_a_program(program, end):
    program(PRODUCT, PENDING, end, arguments="", checks=False, timeout=10, OWL_CUBLAS_BORDER="1")


def test_a_forked_child(program):
    program(
        PRODUCT,
        PENDING,
        """
    symbols = ["cublasGemmEx", "cublasCreate_v2", "cublasDestroy_v2"]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with gpu, pytest.raises(owl.OwlError):
                pending().to_numpy()
            on(cpu, lambda x: x * x, matrix(9, 9))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    with gpu:
        x.to_numpy()
        pending().to_numpy()
    """,
        arguments="",
        checks=False,
        timeout=20,
        OWL_CUBLAS_BORDER="1",
    )


def test_random_programs():
    command = [sys.executable, "-m", "owl.testing.fuzz", "--programs", "12", "--devices", "cpu+gpu:0"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OWL_CUBLAS_BORDER": "1", "OWL_STANDIN_CHECKED": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
