"""Arrays come back from files as they were, and other libraries read the same files."""

from __future__ import annotations

import dataclasses
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import owl
from owl import _runtime
from tests.support.devices import new_device

pytest.importorskip("safetensors")
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]


class Layer(NamedTuple):
    w: Any
    b: Any


@dataclasses.dataclass
class Net:
    first: Any
    last: Any


KEYS = st.text(st.characters(exclude_characters=".", exclude_categories=["Cs"]), max_size=5)
SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
ARRAYS = st.builds(
    lambda shape, seed, kind: np.random.default_rng(seed).normal(size=shape).astype(kind),
    SHAPES,
    SEEDS,
    st.sampled_from([np.float32, np.float64]),
)


def containers(children):
    return (
        st.dictionaries(KEYS, children, min_size=1, max_size=3)
        | st.lists(children, min_size=1, max_size=3)
        | st.lists(children, min_size=1, max_size=3).map(tuple)
        | st.builds(Layer, children, children)
        | st.builds(Net, children, children)
    )


NESTS = containers(st.recursive(ARRAYS, containers, max_leaves=8))


def mapped(function, nest):
    """The nest of dicts and lists that a file gives back, with each array passed through a function."""
    if isinstance(nest, Layer):
        nest = nest._asdict()
    elif isinstance(nest, Net):
        nest = vars(nest)
    if isinstance(nest, dict):
        out = {key: mapped(function, child) for key, child in nest.items()}
        return [out[str(k)] for k in range(len(out))] if out.keys() == {str(k) for k in range(len(out))} else out
    if isinstance(nest, (list, tuple)):
        return [mapped(function, child) for child in nest]
    return function(nest)


def in_owl(nest):
    if isinstance(nest, Layer):
        return Layer(*map(in_owl, nest))
    if isinstance(nest, Net):
        return Net(in_owl(nest.first), in_owl(nest.last))
    if isinstance(nest, dict):
        return {key: in_owl(child) for key, child in nest.items()}
    if isinstance(nest, (list, tuple)):
        return type(nest)(map(in_owl, nest))
    return owl.from_numpy(nest, nest.dtype)


def assert_same(found, expected):
    if isinstance(expected, dict):
        assert type(found) is dict
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert type(found) is list
        assert len(found) == len(expected)
        for one, other in zip(found, expected):
            assert_same(one, other)
    else:
        value = found.to_numpy()
        assert value.dtype == expected.dtype
        assert value.shape == expected.shape
        np.testing.assert_array_equal(value, expected)


@hypothesis.given(nest=NESTS, metadata=st.dictionaries(st.sampled_from(["path", "nest", "a b", "é"]), st.text('aé\n"')))
def test_nests_come_back_as_dicts_and_lists(tmp_path, nest, metadata):
    hypothesis.assume(not (isinstance(nest, dict) and "__metadata__" in nest))
    path = tmp_path / "nest"
    owl.save(path, in_owl(nest), **metadata)
    assert_same(owl.load(path), mapped(lambda array: array, nest))
    assert owl.load_metadata(path) == metadata
    assert list(tmp_path.iterdir()) == [path]


def test_a_list_of_more_than_ten_comes_back_in_its_order(tmp_path):
    owl.save(tmp_path / "net", [owl.ones([1]) * k for k in range(12)])
    assert [float(x) for x in owl.load(tmp_path / "net")] == list(range(12))


def test_a_list_with_a_gap_is_a_dict(tmp_path):
    save_file({"0": np.ones(1), "2": np.ones(1)}, tmp_path / "theirs")
    assert owl.load(tmp_path / "theirs").keys() == {"0", "2"}


def test_an_array_of_no_dimensions_stays_one(tmp_path):
    owl.save(tmp_path / "net", {"x": owl.from_numpy(np.float32(3))})
    value = owl.load(tmp_path / "net")["x"].to_numpy()
    assert value.shape == ()
    assert value == 3


def test_values_that_are_only_recorded_are_computed(tmp_path, rng):
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(5, 4))
    x, y = owl.from_numpy(a, np.float64), owl.from_numpy(b, np.float64)
    owl.save(tmp_path / "net", {"product": x * y, "sum": (x + 1).sum([0, 1])})
    loaded = owl.load(str(tmp_path / "net"))
    np.testing.assert_allclose(loaded["product"].to_numpy(), b @ a, rtol=1e-12)
    np.testing.assert_allclose(loaded["sum"].to_numpy(), [[(a + 1).sum()]], rtol=1e-12)


def test_safetensors_reads_what_owl_saved(tmp_path, rng):
    w, b = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(1, 3))
    owl.save(tmp_path / "net", {"layers": [{"w": owl.from_numpy(w), "b": owl.from_numpy(b, np.float64)}]})
    found = load_file(tmp_path / "net")
    assert found.keys() == {"layers.0.w", "layers.0.b"}
    for name, expected in (("layers.0.w", w), ("layers.0.b", b)):
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def test_owl_reads_what_safetensors_saved(tmp_path, rng):
    arrays = {"a.0": rng.normal(size=(2, 3)), "a.1": rng.normal(size=4).astype(np.float32)}
    half = rng.normal(size=(3, 5)).astype(np.float16)
    save_file({**arrays, "half": half}, tmp_path / "theirs", {"format": "np"})
    assert_same(owl.load(tmp_path / "theirs"), {"a": list(arrays.values()), "half": half.astype(np.float32)})
    assert owl.load_metadata(tmp_path / "theirs") == {"format": "np"}


def test_arrays_of_devices_are_saved_and_loaded_where_is_asked_for(tmp_path):
    here, there = owl.get_device(), new_device()
    with there:
        x = owl.ones([3, 2]) * 2
    owl.save(tmp_path / "net", {"x": x, "y": owl.ones([2]) * 3})
    for device in (None, there, int(there)):
        loaded = owl.load(tmp_path / "net", device)
        assert [loaded[name].device for name in "xy"] == [here if device is None else there] * 2
        assert owl.get_device() == here
        np.testing.assert_array_equal((loaded["x"] + 1).to_numpy(), np.full((2, 3), 3.0, np.float32))
    with pytest.raises(owl.DeviceError, match="there is no device 12345"):
        owl.load(tmp_path / "net", 12345)


def test_what_is_loaded_may_be_changed_and_outlives_the_file(tmp_path):
    owl.save(tmp_path / "net", [owl.ones([3])])
    [x] = owl.load(tmp_path / "net")
    [again] = owl.load(tmp_path / "net")
    (tmp_path / "net").unlink()
    x += 1
    assert float(x.sum()) == 6
    assert float(again.sum()) == 3


ONE = lambda: owl.ones([1])  # noqa: E731


def cyclic():
    nest: dict[str, Any] = {"x": ONE()}
    nest["again"] = nest
    return nest


@pytest.mark.parametrize(
    ("nest", "error", "reason"),
    [
        (lambda: {"net": {"a.b": ONE()}}, owl.OwlValueError, r"nest\['net'\]\['a\.b'\]: a dot"),
        (lambda: {"a.b": ONE(), "a": {"b": ONE()}}, owl.OwlValueError, r"nest\['a\.b'\]: a dot"),
        (lambda: {"net": [ONE(), {}]}, owl.OwlValueError, r"nest\['net'\]\[1\] is empty"),
        (list, owl.OwlValueError, "nest is empty"),
        (lambda: {"net": {3: ONE()}}, owl.OwlTypeError, r"nest\['net'\]\[3\]: keys are strings in a file, not int"),
        (lambda: {"\ud800": ONE()}, owl.OwlValueError, r"nest\['\\ud800'\]: the key is no text"),
        (lambda: {"__metadata__": ONE()}, owl.OwlValueError, "safetensors keeps the metadata"),
        (lambda: Layer(ONE(), 3), owl.OwlTypeError, r"nest\.b is int, and a file holds arrays alone"),
        (lambda: Net(ONE(), np.ones(3)), owl.OwlTypeError, r"nest\.last is ndarray, not an owl array: owl\.from_numpy"),
        (ONE, owl.OwlTypeError, "not NArray"),
        (cyclic, owl.OwlValueError, r"nest\['again'\] contains itself"),
    ],
)
def test_nests_that_files_cannot_hold_are_refused_with_their_path(tmp_path, nest, error, reason):
    with pytest.raises(error, match=rf"\[save\] .*{reason}"):
        owl.save(tmp_path / "net", nest())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [(7, owl.OwlTypeError, "'step' must be a string, not int"), ("\udfff", owl.OwlValueError, "'step' is no text")],
)
def test_metadata_that_are_no_strings_are_refused(tmp_path, value, error, reason):
    with pytest.raises(error, match=reason):
        owl.save(tmp_path / "net", [ONE()], step=value)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_cannot_be_computed_leaves_the_old_file(tmp_path):
    path = tmp_path / "net"
    owl.save(path, {"x": owl.ones([2])})
    before = path.read_bytes()
    _runtime.inject_fault("exp")
    good, bad = owl.ones([2]) + 5, owl.elewise.exp(owl.ones([2]))
    with pytest.raises(owl.ExecutionError):
        owl.save(path, {"good": good, "bad": bad})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_the_mode_stays(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, link = folder / "net", tmp_path / "link"
    link.symlink_to(target)
    before = os.umask(0o027)
    try:
        owl.save(link, [owl.ones([1])])
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.chmod(0o604)
    owl.save(link, [owl.ones([1]) * 2])
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert float(owl.load(link)[0]) == 2
    assert list(folder.iterdir()) == [target]


def test_paths_that_are_no_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for act in (lambda path: owl.save(path, [ONE()]), owl.load, owl.load_metadata):
        with pytest.raises(owl.OwlValueError, match="pipe: is a pipe"):
            act(tmp_path / "pipe")
        with pytest.raises(owl.OwlValueError, match="is a folder"):
            act(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        owl.load(tmp_path / "nowhere")
    with pytest.raises(owl.OwlValueError, match="no folder"):
        owl.save(tmp_path / "nowhere" / "net", [ONE()])


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


FULL = """
import resource, sys
import owl
big = owl.ones([1 << 16])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    owl.save(sys.argv[1], [big])
except OSError as error:
    print(type(error).__name__, error.filename, error.strerror)
"""


def test_a_disk_that_is_full_leaves_the_old_file_and_removes_the_new_one(tmp_path):
    path = tmp_path / "net"
    owl.save(path, [owl.ones([3])])
    before = path.read_bytes()
    done = run(FULL, str(path))
    assert done.stdout == f"OSError {path} [save] cannot be written: File too large\n", done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


WITHOUT = """
import sys
sys.modules["safetensors"] = None
import owl
for act in (lambda: owl.save(sys.argv[1], [owl.ones([1])]), lambda: owl.load(sys.argv[2])):
    try:
        act()
    except owl.OwlRuntimeError as error:
        print(error)
"""


def test_without_the_library_the_error_says_what_to_install(tmp_path):
    owl.save(tmp_path / "there", [ONE()])
    done = run(WITHOUT, str(tmp_path / "net"), str(tmp_path / "there"))
    told = done.stdout.splitlines()
    assert [line.split("]")[0] for line in told] == ["[save", "[load"], done.stderr
    assert all("pip install 'owl-runtime[files]'" in line for line in told)
    assert not (tmp_path / "net").exists()


def test_owl_is_imported_without_safetensors():
    done = run("import sys, owl, owl.aio; print('safetensors' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


KILLED = """
import itertools, sys
import owl
for number in itertools.count(1):
    owl.save(sys.argv[1], {"x": owl.ones([200_000]) * number}, number=str(number))
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "net"
    for count in range(1, 7):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            try:
                assert process.stdout is not None
                for number in range(1, count + 1):
                    assert process.stdout.readline() == b"%d\n" % number
            finally:
                process.kill()
                process.wait(60)
        number = int(owl.load_metadata(path)["number"])
        assert number >= count
        np.testing.assert_array_equal(owl.load(path)["x"].to_numpy(), np.full(200_000, number, np.float32))
        path.unlink()


def test_a_file_of_eight_dimensions_is_loaded_and_one_of_nine_refused(tmp_path):
    for ndim in (8, 9):
        array = np.arange(math.prod([2] * ndim), dtype=np.float32).reshape([2] * ndim)
        save_file({"x": array}, tmp_path / "theirs")
        if ndim == 8:
            np.testing.assert_array_equal(owl.load(tmp_path / "theirs")["x"].to_numpy(), array)
        else:
            with pytest.raises(owl.OwlValueError, match="x has 9 dimensions, more than 8"):
                owl.load(tmp_path / "theirs")


@pytest.mark.parametrize("optimizer", [owl.optim.Adam(0.01), owl.optim.SGD(0.1, momentum=0.9)], ids=["adam", "sgd"])
def test_a_training_goes_on_from_a_file_with_the_same_bits(tmp_path, rng, optimizer):
    x, y = (owl.from_numpy(rng.normal(size=shape)) for shape in ((8, 3), (8, 2)))

    def loss(params, x, y):
        error = params["net"][0].w * x + params["net"][0].b - y
        return owl.elewise.mult(error, error).mean()

    def trained(params, state, steps):
        for _ in range(steps):
            _, gradients = owl.value_and_grad(loss)(params, x, y)
            params, state = optimizer.update(gradients, state, params)
        return params, state

    params = {"net": [Layer(owl.randn([2, 3]), owl.zeros([2, 1]))]}
    params, state = trained(params, optimizer.init(params), 3)
    slots = {name: state[name] for name in optimizer.slots}
    owl.save(tmp_path / "net", {"params": params, **slots}, step=str(state["step"]))
    expected, _ = trained(params, state, 3)

    def layers(saved):
        return {"net": [Layer(**layer) for layer in saved["net"]]}

    saved = owl.load(tmp_path / "net")
    state = {"step": int(owl.load_metadata(tmp_path / "net")["step"]), **{n: layers(saved[n]) for n in slots}}
    found, _ = trained(layers(saved["params"]), state, 3)
    for one, other in zip(found["net"][0], expected["net"][0]):
        np.testing.assert_array_equal(one.to_numpy(), other.to_numpy())


def test_importing_owl_does_not_import_what_files_need():
    """It took half of the time that `import owl` takes."""
    done = run("import sys, owl; print('owl._files' in sys.modules, 'save' in dir(owl), callable(owl.save))")
    assert done.stdout.split() == ["False", "True", "True"], done.stderr
    done = run("import owl; owl.sav")
    assert "module 'owl' has no attribute 'sav'" in done.stderr
