"""owl.explain: what was fused, donated, left over and dropped, why windows were handed over, as text, DOT and SVG."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import owl
from owl import conv, elewise
from tests.support.devices import new_device

HERE = "test_explain.py"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def planner_on():
    """Fusion and cuts by anchors, whatever the environment asks for: they are what there is to explain."""
    was = owl._runtime.set_fuse(True)
    owl._runtime.set_random_windows(None)
    yield
    owl._runtime.set_fuse(was)
    owl._runtime.set_random_windows(1 if os.environ.get("OWL_WINDOW") == "random" else None)


def line_of(text: str) -> int:
    """The line of this file that holds a text."""
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def train(steps: int) -> list[owl.NArray]:
    """A perceptron's steps without a demand; the parameters."""
    w1, w2 = owl.randn([64, 96], 0.0, 0.1), owl.randn([10, 64], 0.0, 0.1)
    b1, b2 = owl.zeros([64, 1]), owl.zeros([10, 1])
    data_np = np.ones((128, 96), np.float32)
    label_np = np.ones((128, 10), np.float32)
    for _ in range(steps):
        data, label = owl.from_numpy(data_np), owl.from_numpy(label_np)
        a1 = elewise.relu(w1 * data + b1)
        a2 = conv.softmax(w2 * a1 + b2)
        s2 = a2 - label
        s1 = elewise.relu_back(w2.trans() * s2, a1)
        w1 -= 0.1 * (s1 * data.trans())
        w2 -= 0.1 * (s2 * a1.trans())
        b1 -= 0.1 * s1.sum(1)
        b2 -= 0.1 * s2.sum(1)
    return [w1, w2, b1, b2]


def test_pending_array_is_explained_without_being_computed():
    x = owl.from_numpy(np.ones((4, 3), np.float32))
    w = owl.from_numpy(np.ones((3, 2), np.float32))
    unrelated = x + 5
    y = elewise.relu(w * x + 1)  # the product
    text = owl.explain(y)
    assert y.state == "recorded"
    assert unrelated.state == "recorded"
    assert text.startswith("window: still recorded")
    assert f"plan on {owl.get_device().name}: 3 operations in 1 kernel" in text
    assert f"v0 = matmul(x0, x1) [2, 4] at {HERE}:{line_of('# the product')}" in text
    assert re.search(r"v2 = relu\(v1\) \[2, 4\] .*, stored", text)
    assert owl.explain(y) == text, "explaining changes nothing"
    np.testing.assert_array_equal(y.to_numpy(), np.full((4, 2), 4, np.float32))


def test_plan_that_computed_an_array_is_found_with_the_line_of_the_demand():
    x = owl.from_numpy(np.arange(6, dtype=np.float32))
    y = elewise.exp(x * 2)
    y.to_numpy()  # the demand
    for _ in range(3):
        (owl.zeros([2]) + 1).to_numpy()
    text = owl.explain(y)
    assert text.count("window ") == 1
    assert f"handed over by a demand ({HERE}:{line_of('# the demand')})" in text
    assert "v0 = mul(x0, number) [6]" in text
    assert "v1 = exp(v0) [6]" in text


def test_array_that_was_given_is_said_to_have_no_plan():
    assert owl.explain(owl.from_numpy(np.zeros(3, np.float32))) == "this array's value was given to it, not computed"


def test_plans_are_forgotten_after_a_bounded_number_and_said_to_be():
    x = owl.zeros([3]) + 1
    x.to_numpy()
    for _ in range(80):
        (owl.zeros([3]) + 2).to_numpy()
    assert "no longer remembered" in owl.explain(x)


def test_last_limits_the_windows_and_the_newest_comes_last():
    for size in (3, 4, 5):
        (owl.zeros([size]) + 1).to_numpy()
    text = owl.explain(last=2)
    assert text.count("window ") == 2
    assert "[3]" not in text
    assert text.index("[4]") < text.index("[5]")


def test_second_run_of_the_same_window_is_known_and_told_once():
    for _ in range(2):
        (owl.full([7], 3.0) - 1).to_numpy()
    first, second = (window for window in re.split(r"(?m)^(?=window )", owl.explain(last=2)) if window)
    assert "sub(v0, number)" in first
    assert "known, told above" in second
    assert "sub(" not in second


def test_loop_closes_windows_where_it_comes_round_and_updates_in_place():
    params = train(30)
    text = owl.explain(last=1)
    assert "cut where the loop came round" in text
    fused_update = r"""kernel \d+: gemm, 3 operations fused
      v\d+ = trans\(x\d+\) \[128, 96\] .*, read in place
      v\d+ = matmul\(.*\) \[64, 96\] .*
      v\d+ = mul\(v\d+, number\) \[64, 96\] .*
      v\d+ = sub\(x\d+, v\d+\) \[64, 96\] .*, stored over x\d+"""
    assert re.search(fused_update, text), text
    outside = int(re.search(r"stored outside: ([\d,]+)", text)[1].replace(",", ""))
    assert outside < 1.2 * sum(param.nbytes for param in params) + 1024
    owl.wait_for_all()
    assert "handed over by wait_for_all" in owl.explain(last=1)


def test_bounds_and_idle_executor_are_named():
    was = owl._runtime.set_bounds(nodes=16)
    try:
        x = owl.zeros([5])
        for k in range(40):
            x = elewise.tanh(x) + k if k % 3 else elewise.sqrt(x)
        x.wait_for_eval()
    finally:
        owl._runtime.set_bounds(**was)
    assert "cut at the bounds of a window" in owl.explain(last=64)


def test_dead_values_are_dropped_and_copies_shared():
    x = owl.from_numpy(np.ones(2048, np.float32))
    kept = x.reshape([32, 64])
    out = elewise.exp(kept) + elewise.exp(x.reshape([32, 64]))  # computed once
    text = owl.explain(out)
    assert re.search(r"shared: v\d+ = reshape\(x0\) \[32, 64\] .*, the buffer of x0", text), text
    assert re.search(r"shared: v\d+ = exp\(v\d+\) .*, the buffer of v\d+", text)


def test_left_over_value_is_named():
    x = owl.from_numpy(np.ones((64, 64), np.float32))
    kept = elewise.exp(x)
    total = (kept * 2).sum()
    total.to_numpy()
    text = owl.explain(total)
    assert "left over: v0 = exp(x0) [64, 64]" in text
    assert "1 operation" in owl.explain(kept)
    np.testing.assert_allclose(kept.to_numpy(), np.full((64, 64), np.exp(1), np.float32), rtol=1e-6)


def test_several_devices_are_one_window_with_a_plan_each():
    one, two = new_device(), new_device()
    with one:
        a = owl.ones([8]) + 1
    with two:
        b = a * 3
    assert f"on {one.name}" in owl.explain(b)
    assert f"on {two.name}" in owl.explain(b)
    np.testing.assert_array_equal(b.to_numpy(), np.full(8, 6, np.float32))


def test_numbers_keep_their_place_among_operands_and_dtypes_show():
    x = owl.from_numpy(np.ones(3), dtype=np.float64)
    assert "sub(number, x0) [3] float64" in owl.explain(1 - x)
    assert "mean(x0, [0])" in owl.explain(x.mean(0))


def test_svg_is_wellformed_and_shows_every_kernel_operation_and_line():
    train(12)
    drawing = owl.explain(format="svg", last=3)
    root = ElementTree.fromstring(drawing)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    text = owl.explain(last=3)
    for kernel in re.findall(r"(?m)^ +(kernel \d+: \w+)", text):
        assert any((shown or "").startswith(kernel) for shown in texts), kernel
    for operation in re.findall(r"v\d+ = [a-z_]+\([^)]*\)", text):
        assert any(operation in (shown or "") for shown in texts), operation
    width, height = float(root.get("width")), float(root.get("height"))
    for box in root.iter(f"{SVG}rect"):
        assert float(box.get("x", 0)) + float(box.get("width")) <= width
        assert float(box.get("y", 0)) + float(box.get("height")) <= height


def test_boxes_of_a_drawing_do_not_overlap():
    train(12)
    root = ElementTree.fromstring(owl.explain(format="svg", last=1))
    kernels = [box for box in root.iter(f"{SVG}rect") if box.get("rx") == "6"]
    assert len(kernels) > 5
    corners = [tuple(float(box.get(name)) for name in ("x", "y", "width", "height")) for box in kernels]
    for i, (x, y, w, h) in enumerate(corners):
        for x2, y2, w2, h2 in corners[i + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_names_of_files_are_escaped_in_every_format(tmp_path):
    script = tmp_path / 'a<b>&"c.py'
    script.write_text(
        "import sys, owl, xml.etree.ElementTree as tree\n"
        "x = owl.zeros([2]) + 1\n"
        "drawing = owl.explain(x, format='svg')\n"
        "assert any('a<b>&\"c.py:2' in (e.text or '') for e in tree.fromstring(drawing).iter())\n"
        "assert '&lt;b&gt;&amp;' in drawing\n"
        "assert 'a<b>&\\\\\"c.py:2' in owl.explain(x, format='dot')\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)


def test_dot_has_a_cluster_per_kernel_and_an_edge_per_operand():
    x = owl.from_numpy(np.ones((4, 3), np.float32))
    w = owl.from_numpy(np.ones((3, 2), np.float32))
    y = (w * x + w.sum(1)).sum()
    dot = owl.explain(y, format="dot")
    kernels = len(re.findall(r"(?m)^ +kernel \d+:", owl.explain(y)))
    assert len(re.findall(r"subgraph cluster_w0p0k\d+", dot)) == kernels
    assert dot.count("{") == dot.count("}")
    assert dot.count("->") == 6
    assert '[label="[3, 4]"]' in dot


@pytest.mark.parametrize("format", ["text", "dot", "svg"])
def test_nothing_to_explain_is_said_in_every_format(format):
    code = f"import owl; print(owl.explain(format={format!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert "nothing has been handed over yet" in done.stdout


def test_wrong_arguments_raise():
    with pytest.raises(TypeError, match=r"\[explain\] an owl array is wanted, not list"):
        owl.explain([1])
    with pytest.raises(ValueError, match=r"text, dot, svg, not 'png'"):
        owl.explain(format="png")
    with pytest.raises(ValueError, match="at least one window"):
        owl.explain(last=0)


def test_explaining_keeps_no_array_alive():
    owl.wait_for_all()
    before = owl._runtime.debug_counters()["nodes"]
    x = owl.zeros([100]) + 1
    owl.explain(x)
    x.to_numpy()
    owl.explain(x)
    del x
    owl.wait_for_all()
    assert owl._runtime.debug_counters()["nodes"] == before
