"""The asyncio training program."""

import re

from owl.apps.mnist import mnist_async


def test_training_beside_a_heartbeat(monkeypatch, capsys):
    from owl.apps.mnist import data
    from owl.apps.mnist.digits import load_digits

    monkeypatch.setattr(data, "load", lambda path: load_digits())
    code = mnist_async.main(["--epochs", "8", "--batch", "64", "--heartbeat", "0.001"])
    out = capsys.readouterr().out
    assert code == 0
    assert float(re.findall(r"test accuracy ([\d.]+)%", out)[-1]) > 85
    assert "heartbeat: worst loop lag so far" in out
    assert re.search(r"^worst loop lag [\d.]+ ms$", out, re.MULTILINE)


def test_data_that_is_not_there(capsys, tmp_path):
    assert mnist_async.main(["--data", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
