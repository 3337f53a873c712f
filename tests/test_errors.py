"""Errors while recording are raised at the user's line, are what NumPy would raise, and name operation and shapes."""

from __future__ import annotations

import io
import pickle
import traceback

import numpy as np
import pytest

import owl
import owl.elewise as ele
from owl.testing import faults, memory_limit


def a(*shape: int, dtype=None) -> owl.NArray:
    return owl.zeros(list(shape), dtype)


# Each line: what is written, owl's class, the built-in class that NumPy would raise, and what the message must contain.
CASES = {
    "add": (lambda: a(2, 3) + a(2, 4), owl.ShapeError, ValueError, ["[+]", "[2, 3]", "[2, 4]", "dimension 1"]),
    "sub": (lambda: a(2, 3) - a(3), owl.ShapeError, ValueError, ["[-]", "[2, 3]", "[3]", "number of dimensions"]),
    "div by numpy": (lambda: a(2, 3) / np.ones((2, 2)), owl.ShapeError, ValueError, ["[/]", "[2, 3]", "[2, 2]"]),
    "compare": (lambda: a(2) < a(3), owl.ShapeError, ValueError, ["[<]", "[2]", "[3]"]),
    "mult": (lambda: ele.mult(a(2), a(3)), owl.ShapeError, ValueError, ["[mult]", "[2]", "[3]"]),
    "where": (lambda: ele.where(a(2), a(2), a(3)), owl.ShapeError, ValueError, ["[where]", "[2]", "[3]"]),
    "matmul": (lambda: a(2, 3) * a(2, 3), owl.ShapeError, ValueError, ["[*]", "[2, 3]", "3 columns, 2 rows"]),
    "matmul of a vector": (lambda: a(2, 3) * a(3), owl.ShapeError, ValueError, ["[*]", "two matrices", "elewise.mult"]),
    "matmul with numpy": (lambda: a(2, 2) * np.ones((2, 2)), owl.OwlTypeError, TypeError, ["[*]", "elewise.mult"]),
    "numpy with matmul": (lambda: np.ones((2, 2)) * a(2, 2), owl.OwlTypeError, TypeError, ["[*]", "elewise.mult"]),
    "elewise of a list": (lambda: ele.exp([1.0]), owl.DTypeError, TypeError, ["[exp]", "list"]),
    "elewise of numbers": (lambda: ele.mult(1, 2), owl.DTypeError, TypeError, ["[mult]", "int"]),
    "elewise arguments": (lambda: ele.exp(a(1), a(1)), owl.OwlTypeError, TypeError, ["[exp]", "1 argument"]),
    "elewise without": (lambda: ele.mult(), owl.OwlTypeError, TypeError, ["[mult]", "2 argument"]),
    "sum axis": (lambda: a(2, 3).sum(2), owl.AxisError, ValueError, ["[sum]", "dimension 2", "2 dimensions"]),
    "max axis": (lambda: a(2, 3).max([0, -3]), owl.AxisError, IndexError, ["[max]", "dimension -3"]),
    "axis twice": (lambda: a(2, 3).sum([0, -2]), owl.OwlValueError, ValueError, ["[sum]", "twice"]),
    "axis type": (lambda: a(2, 3).sum("x"), owl.DTypeError, TypeError, ["[sum]", "'x'"]),
    "argmax axis": (lambda: a(2).argmax(1), owl.AxisError, IndexError, ["[argmax]", "dimension 1"]),
    "max of nothing": (lambda: a(2, 0).max(1), owl.OwlValueError, ValueError, ["[max]", "[2, 0]", "empty"]),
    "argmax of nothing": (lambda: a(0).argmax(0), owl.OwlValueError, ValueError, ["[argmax]", "[0]"]),
    "reshape": (lambda: a(2, 3).reshape([4]), owl.ShapeError, ValueError, ["[reshape]", "[4]", "[2, 3]", "6"]),
    "reshape open": (lambda: a(2, 3).reshape([4, -1]), owl.ShapeError, ValueError, ["[reshape]", "[4, -1]"]),
    "reshape open twice": (lambda: a(4).reshape([-1, -1]), owl.ShapeError, ValueError, ["[reshape]"]),
    "trans": (lambda: a(2, 3).trans([0, 0]), owl.OwlValueError, ValueError, ["[trans]", "[0, 0]"]),
    "trans axis": (lambda: a(2, 3).trans([0, 2]), owl.AxisError, ValueError, ["[trans]", "dimension 2"]),
    "index": (lambda: a(2, 3)[2], owl.OwlIndexError, IndexError, ["index 2", "dimension 0 of 2"]),
    "too many indices": (lambda: a(2)[0, 0], owl.OwlIndexError, IndexError, ["2 indices", "1 dimension"]),
    "transposed by a number": (lambda: a(2, 3).trans(0), owl.OwlValueError, ValueError, ["[trans]", "[0]"]),
    "slice of floats": (lambda: a(2)[0.5:1], owl.OwlTypeError, TypeError, ["slice(0.5, 1, None)"]),
    "slice by no step": (lambda: a(2)[::0], owl.OwlValueError, ValueError, ["dimension 0"]),
    "slice from a float": (lambda: owl.slice(a(2), 0, 0.0, 1), owl.DTypeError, TypeError, ["[slice]", "0.0"]),
    "huge index": (lambda: a(2)[2**80], owl.OwlIndexError, IndexError, ["dimension 0 of 2"]),
    "no shape": (lambda: owl.zeros(None), owl.DTypeError, TypeError, ["[zeros]", "None"]),
    "shape of a float": (lambda: owl.zeros(2.5), owl.DTypeError, TypeError, ["[zeros]", "2.5"]),
    "shape of a word": (lambda: owl.ones([2, "a"]), owl.DTypeError, TypeError, ["[ones]", "'a'"]),
    "reshape to nothing": (lambda: a(2).reshape(None), owl.DTypeError, TypeError, ["[reshape]", "None"]),
    "huge number": (lambda: a(2) + 10**400, owl.OwlOverflowError, OverflowError, ["[+]", "1329 bits"]),
    "huge number before": (lambda: 10**400 * a(2), owl.OwlOverflowError, OverflowError, ["[*]", "1329 bits"]),
    "huge operand": (lambda: ele.maximum(a(2), 10**400), owl.OwlOverflowError, OverflowError, ["[maximum]"]),
    "full of a huge number": (lambda: owl.full([2], 10**400), owl.OwlOverflowError, OverflowError, ["[full]"]),
    "huge mean": (lambda: owl.randn([2], 10**400), owl.OwlOverflowError, OverflowError, ["[randn]"]),
    "mean of a word": (lambda: owl.randn([2], "a"), owl.DTypeError, TypeError, ["[randn]", "'a'"]),
    "range backwards": (lambda: owl.randu([2], 1, 0), owl.OwlValueError, ValueError, ["[randu]", "low=1", "high=0"]),
    "range from nan": (lambda: owl.randu([2], float("nan"), 0), owl.OwlValueError, ValueError, ["[randu]", "nan"]),
    "huge range": (lambda: owl.randu([2], -3e38, 3e38), owl.OwlValueError, ValueError, ["[randu]", "float32"]),
    "long argmax": (lambda: a(2**24 + 1).argmax(0), owl.OwlValueError, ValueError, ["[argmax]", 'dtype="float64"']),
    "two ellipses": (lambda: a(2, 3)[..., ...], owl.OwlIndexError, IndexError, ["ellipsis"]),
    "index by a list": (lambda: a(2, 3)[[0, 1]], owl.OwlIndexError, IndexError, ["[0, 1]"]),
    "index by a float": (lambda: a(2, 3)[1.0], owl.OwlIndexError, IndexError, ["1.0"]),
    "index by a truth": (lambda: a(2, 3)[True], owl.OwlIndexError, IndexError, ["True"]),
    "slice": (lambda: owl.slice(a(2, 3), 1, 2, 2), owl.OwlIndexError, IndexError, ["[slice]", "dimension 1 of 3"]),
    "slice axis": (lambda: owl.slice(a(2, 3), 2, 0, 1), owl.AxisError, IndexError, ["[slice]", "dimension 2"]),
    "slice of numpy": (lambda: owl.slice(np.ones(3), 0, 0, 1), owl.OwlTypeError, TypeError, ["[slice]", "ndarray"]),
    "concat": (lambda: owl.concat([a(2, 3), a(3, 3)], 1), owl.ShapeError, ValueError, ["[concat]", "[2, 3]", "[3, 3]"]),
    "concat ndim": (lambda: owl.concat([a(2, 3), a(2)], 0), owl.ShapeError, ValueError, ["[concat]", "[2, 3]", "[2]"]),
    "concat nothing": (lambda: owl.concat([], 0), owl.OwlValueError, ValueError, ["[concat]"]),
    "concat numpy": (lambda: owl.concat([np.ones(2)], 0), owl.OwlTypeError, TypeError, ["[concat]", "ndarray"]),
    "softmax": (lambda: owl.conv.softmax(a(3)), owl.ShapeError, ValueError, ["[softmax]", "[3]"]),
    "softmax mode": (lambda: owl.conv.softmax(a(3, 3), 7), owl.OwlValueError, ValueError, ["[softmax]", "7"]),
    "softmax of numpy": (
        lambda: owl.conv.softmax(np.ones((2, 2))),
        owl.OwlTypeError,
        TypeError,
        ["[softmax]", "ndarray"],
    ),
    "dtype": (lambda: owl.zeros([2], np.int32), owl.DTypeError, TypeError, ["[zeros]", "int32"]),
    "no dtype": (lambda: owl.zeros([2], "nothing"), owl.DTypeError, TypeError, ["[zeros]", "nothing"]),
    "astype": (lambda: a(2).astype(np.float16), owl.DTypeError, TypeError, ["[astype]", "float16"]),
    "negative": (lambda: owl.ones([2, -1]), owl.ShapeError, ValueError, ["[ones]", "[2, -1]"]),
    "nine dimensions": (lambda: owl.ones([1] * 9), owl.ShapeError, ValueError, ["[ones]", "9"]),
    "shape of floats": (lambda: owl.zeros([2.0]), owl.DTypeError, TypeError, ["[zeros]", "2.0"]),
    "too large": (lambda: owl.zeros([1 << 30] * 3), owl.ShapeError, ValueError, ["[zeros]", "too large"]),
    "full": (lambda: owl.full([2], "x"), owl.DTypeError, TypeError, ["[full]", "'x'"]),
    "from_numpy": (lambda: owl.from_numpy(np.array(["x"])), owl.DTypeError, TypeError, ["[from_numpy]"]),
    "from_numpy complex": (lambda: owl.from_numpy(np.ones(2, complex)), owl.DTypeError, TypeError, ["complex128"]),
    "from_numpy ragged": (lambda: owl.from_numpy([[1], [1, 2]]), owl.DTypeError, TypeError, ["[from_numpy]"]),
    "from_numpy 9-d": (lambda: owl.from_numpy(np.ones((1,) * 9)), owl.ShapeError, ValueError, ["[from_numpy]", "9"]),
    "borrow": (
        lambda: owl.from_numpy(np.ones(3), copy=False),
        owl.OwlValueError,
        ValueError,
        ["copy=False", "float32"],
    ),
    "device": (lambda: owl.set_device(1000), owl.DeviceError, RuntimeError, ["[set_device]", "1000"]),
    "device type": (lambda: a(2).to("cpu"), owl.DeviceError, RuntimeError, ["[to]", "'cpu'"]),
    "gpu number": (lambda: owl.create_gpu_device(-1), owl.DeviceError, RuntimeError, ["[create_gpu_device]", "-1"]),
    "threads": (lambda: owl.set_num_threads(0), owl.OwlValueError, ValueError, ["[set_num_threads]", "0"]),
    "written into": (lambda: a(2).__setitem__(0, 1), owl.OwlTypeError, TypeError, ["arrays are values"]),
    "class called": (owl.NArray, owl.OwlTypeError, TypeError, ["owl.zeros"]),
    "truth": (lambda: bool(a(2)), owl.OwlValueError, ValueError, ["[bool]", "2 elements"]),
    "float": (lambda: float(a(2)), owl.OwlTypeError, TypeError, ["[float]", "[2]"]),
    "int": (lambda: int(a(0)), owl.OwlTypeError, TypeError, ["[int]", "[0]"]),
    "length": (lambda: len(a()), owl.OwlTypeError, TypeError, ["[len]"]),
    "iteration": (lambda: list(a()), owl.OwlTypeError, TypeError, ["[iter]"]),
    "initialize": (
        lambda: owl.initialize(["--owl-threads=x"]),
        owl.OwlValueError,
        ValueError,
        ["--owl-threads", "'x'"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_recording_errors(name):
    wrong, ours, builtin, parts = CASES[name]
    with pytest.raises(ours) as caught:
        wrong()
    assert isinstance(caught.value, owl.OwlError)
    assert isinstance(caught.value, builtin)
    for part in parts:
        assert part in str(caught.value)
    # Below the line that wrote it are frames of owl's own only.
    files = [frame.filename for frame in traceback.extract_tb(caught.tb)]
    inner = files[len(files) - files[::-1].index(__file__) :]
    assert all("owl/_" in file for file in inner), inner
    if name != "class called":  # the table names the class itself: no lambda calls it
        assert files.count(__file__) == 2  # this function and the lambda


def test_an_update_in_place_cannot_change_the_shape():
    x, z = a(1, 3), owl.ones([3, 4])
    for operator in ("+=", "-=", "/="):
        with pytest.raises(owl.ShapeError, match=r"the result has shape \[2, 3\], the array \[1, 3\]") as caught:
            exec(f"x {operator} owl.ones([2, 3])")
        assert f"[{operator}]" in str(caught.value)
    with pytest.raises(owl.ShapeError, match=r"the result has shape \[1, 4\], the array \[1, 3\]"):
        x *= z
    np.testing.assert_array_equal(x.to_numpy(), np.zeros((3, 1)))


def test_operators_leave_unknown_types_to_python():
    for wrong in (None, "text", [1, 2], object()):
        for operation in (
            lambda x, y: x + y,
            lambda x, y: y - x,
            lambda x, y: x * y,
            lambda x, y: y * x,
            lambda x, y: x / y,
            lambda x, y: x < y,
        ):
            with pytest.raises(
                TypeError, match=r"unsupported operand|not supported|can't multiply|must be|concatenate"
            ):
                operation(a(2, 2), wrong)
    assert (a(2) == None) is False  # noqa: E711
    assert (a(2) != "text") is True


def test_another_type_may_take_an_owl_array():
    class Tensor:
        def __radd__(self, other):
            return "radd"

        def __rmul__(self, other):
            return "rmul"

    assert a(2) + Tensor() == "radd"
    assert a(2) * Tensor() == "rmul"


def test_nothing_is_recorded_where_recording_fails():
    x = a(2, 3)
    before = owl.testing.counters()["nodes"]
    with pytest.raises(owl.ShapeError):
        x + a(3, 2)
    with pytest.raises(owl.ShapeError):
        x * a(2, 2)
    assert owl.testing.counters()["nodes"] == before


def line_of(part: str) -> tuple[str, int]:
    with open(__file__) as source:  # noqa: PTH123
        return __file__, next(number for number, line in enumerate(source, 1) if line.rstrip().endswith(part))


def test_a_failure_while_running_names_operations_and_lines():
    x = owl.ones([4, 4])
    y = ele.exp(x)  # here
    z = (y * y).sum(0)
    with faults("exp"), pytest.raises(owl.ExecutionError, match="exp") as caught:
        z.to_numpy()
    assert caught.value.kind == "injected"
    assert ("exp", *line_of("# here")) in caught.value.origins
    file, number = line_of("# here")
    assert f"{file}:{number}" in str(caught.value)


def test_a_failure_reaches_every_dependent_and_nothing_else(devices):
    with devices[0]:
        x = owl.ones([3])
        x.wait_for_eval()  # else it could be a part of the kernel that fails
        good = x * 2
        bad = ele.tanh(x)
        after = [bad + 1, ele.sqrt(bad), (bad + good).sum()]
    with devices[1]:
        elsewhere = bad * 3
    with faults("tanh"):
        for array in [*after, elsewhere, bad]:
            with pytest.raises(owl.ExecutionError, match="tanh") as caught:
                array.to_numpy()
            assert caught.value.kind == "injected"
            assert array.state == "failed"
    np.testing.assert_array_equal(good.to_numpy(), [2, 2, 2])
    np.testing.assert_array_equal((x + 5).to_numpy(), [6, 6, 6])
    with pytest.raises(owl.ExecutionError, match="tanh"):
        (bad + 1).wait_for_eval()  # recorded after the failure


def test_a_fault_comes_as_often_as_ordered():
    with faults("neg", skip=1, count=2):
        outcomes = []
        for _ in range(4):
            x = -owl.ones([2])
            try:
                x.wait_for_eval()
                outcomes.append("done")
            except owl.ExecutionError:
                outcomes.append("failed")
    assert outcomes == ["done", "failed", "failed", "done"]


def test_running_out_of_memory_leaves_inputs_intact():
    x = owl.ones([1000, 100])
    x.wait_for_eval()
    y = x * 2
    with memory_limit(1 << 16, beyond_current=True), pytest.raises(owl.OutOfMemoryError, match="memory") as caught:
        y.to_numpy()
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, owl.ExecutionError)
    assert caught.value.kind == "out_of_memory"
    assert float((x * 2).sum()) == 200_000
    x -= x * 0.5
    x.wait_for_eval()
    with memory_limit(1 << 16, beyond_current=True), pytest.raises(owl.OutOfMemoryError):
        (owl.concat([x, x], 0) * 2).to_numpy()
    assert float(x.sum()) == 50_000


@pytest.mark.cpu("the host's memory is what is short")
def test_from_numpy_raises_when_memory_is_short():
    x = np.ones(1 << 20, np.float32)
    with memory_limit(1 << 16, beyond_current=True), pytest.raises(owl.OutOfMemoryError, match=r"\[from_numpy\]"):
        owl.from_numpy(x)
    assert float(owl.from_numpy(x).sum()) == 1 << 20


def test_execution_errors_travel_between_processes():
    with faults("exp"), pytest.raises(owl.ExecutionError) as caught:
        ele.exp(a(2)).to_numpy()
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert (str(again), again.kind, again.origins) == (str(caught.value), caught.value.kind, caught.value.origins)


def test_an_exception_that_was_never_retrieved_prints_one_line(python):
    done = python("""
import owl, owl.testing
with owl.testing.faults("exp"):
    x = owl.elewise.exp(owl.zeros([2]))
    y = x + 1
    owl.wait_for_all()
""")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert "exception was never retrieved" in lines[0]
    assert "program.py:4" in lines[0]


def test_a_failure_that_was_looked_at_prints_nothing(python):
    done = python("""
import owl, owl.testing
with owl.testing.faults("exp"):
    x = owl.elewise.exp(owl.zeros([2]))
    try:
        x.to_numpy()
    except owl.ExecutionError:
        pass
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_gpu_that_is_missing_says_what_to_do(monkeypatch):
    monkeypatch.delenv("OWL_GPU_FALLBACK", raising=False)
    if owl.has_cuda():
        pytest.skip("there is a GPU")
    with pytest.raises(owl.DeviceError, match=r"install .*; OWL_GPU_FALLBACK=cpu lets"):
        owl.create_gpu_device(0)
    out = io.StringIO()
    owl.show_config(file=out)
    assert "install" in out.getvalue()


def test_the_fallback_warns_once(python):
    done = python(
        """
import warnings
import owl
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for i in range(3):
        owl.set_device(owl.create_gpu_device(i))
print(len(caught), "OWL_GPU_FALLBACK" in str(caught[0].message), caught[0].filename == __file__)
print(float(owl.ones([3]).sum()))
""",
        OWL_GPU_FALLBACK="cpu",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "True", "True", "3.0"]


def test_a_step_of_any_size_goes_to_one_element():
    assert owl.from_numpy(np.arange(3.0))[:: 2**70].to_numpy().tolist() == [0]
    assert owl.from_numpy(np.arange(3.0))[:: -(2**70)].to_numpy().tolist() == [2]


def test_a_float64_range_may_be_as_large_as_float64_holds():
    values = owl.randu([1000], -3e38, 3e38, dtype="float64").to_numpy()
    assert np.isfinite(values).all()
    assert values.min() < -1e38
    assert values.max() > 1e38
