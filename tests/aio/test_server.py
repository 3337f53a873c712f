"""The example service as a real process, under load, with clients that misbehave."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import owl

ROOT = Path(__file__).resolve().parents[2]
PIXELS = 784
REQUESTS = 2000
CONNECTIONS = 64
BAD_BODIES = [(b"", ""), (b"xyz", "")] + [
    (body, "application/json")
    for body in (
        b"{",
        b"[1, 2]",
        b"7",
        json.dumps(["7"] * PIXELS).encode(),
        json.dumps([True] * PIXELS).encode(),
        json.dumps([None] * PIXELS).encode(),
        json.dumps([[0]] * PIXELS).encode(),
        json.dumps([0] * (PIXELS - 1) + [float("nan")]).encode(),
        json.dumps([0] * (PIXELS - 1) + [256]).encode(),
        json.dumps([0] * (PIXELS - 1) + [10**400]).encode(),
        json.dumps([0] * (PIXELS + 1)).encode(),
    )
]

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def parameters():
    rng = np.random.default_rng(7)
    shapes = {"w1": (PIXELS, 256), "b1": (1, 256), "w2": (256, 10), "b2": (1, 10)}
    return {name: (rng.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(8).integers(0, 256, (50, PIXELS), dtype=np.uint8)


@pytest.fixture(scope="module")
def digits(parameters, images):
    """What NumPy says of the images."""
    hidden = np.maximum(images / 256.0 @ parameters["w1"] + parameters["b1"], 0)
    return (hidden @ parameters["w2"] + parameters["b2"]).argmax(1)


@pytest.fixture
def server(parameters, tmp_path):
    from owl.apps.mnist import checkpoint

    checkpoint.save(tmp_path / "mlp.safetensors", "mlp", parameters)
    process = subprocess.Popen(
        [sys.executable, "examples/serve_digits.py", "--port", "0", "--load", str(tmp_path / "mlp.safetensors")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::RuntimeWarning"},
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), process.stderr.read()
        process.port = int(line.rpartition(":")[2])
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


class Connection:
    """A keep-alive HTTP/1.1 connection, and no more of HTTP than the tests need."""

    def __init__(self, port):
        self.port = port
        self.writer = None

    async def send(self, method, path, body=b"", kind="application/octet-stream", length=None):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        self.writer.write(f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body)
        await self.writer.drain()

    async def answer(self):
        status = int((await self.reader.readline()).split()[1])
        headers = {}
        while (line := await self.reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = json.loads(await self.reader.readexactly(int(headers["content-length"])))
        if headers.get("connection") == "close":
            await self.close()
        return status, body

    async def ask(self, *arguments, **options):
        await self.send(*arguments, **options)
        return await self.answer()

    async def close(self):
        if self.writer is not None:
            self.writer.close()
            try:
                await self.writer.wait_closed()
            except ConnectionError:
                pass
            self.writer = None


def stop(server):
    server.send_signal(signal.SIGTERM)
    _, err = server.communicate(timeout=60)
    # uvicorn hands the signal on to itself once it has shut down.
    assert server.returncode in (0, -signal.SIGTERM)
    assert err == ""


def test_two_thousand_requests_from_many_connections_and_none_lost(server, images, digits):
    answered = {200: 0, 413: 0, 422: 0, "health": 0, "dropped": 0}
    slowest_health = 0.0

    async def client(numbers):
        nonlocal slowest_health
        connection = Connection(server.port)
        for n in numbers:
            which = n % len(images)
            image = images[which].tobytes()
            if n % 20 == 3:
                begin = time.perf_counter()
                assert await connection.ask("GET", "/health") == (200, {"status": "ok"})
                slowest_health = max(slowest_health, time.perf_counter() - begin)
                answered["health"] += 1
            elif n % 20 == 7:
                await connection.send("POST", "/predict", image[:400], length=PIXELS)
                await connection.close()
                answered["dropped"] += 1
            elif n % 20 == 11:
                await connection.send("POST", "/predict", image)  # gone before the answer
                await connection.close()
                answered["dropped"] += 1
            elif n % 20 == 13:
                status, body = await connection.ask("POST", "/predict", b"x" * 20_000)
                await connection.close()
                assert status == 413
                assert "bytes" in body["error"]
                answered[status] += 1
            elif n % 20 == 17:
                bad, kind = BAD_BODIES[n // 20 % len(BAD_BODIES)]
                status, _ = await connection.ask("POST", "/predict", bad, kind=kind)
                assert status == 422
                answered[status] += 1
            else:
                as_json = n % 20 == 19
                body = json.dumps(images[which].tolist()).encode() if as_json else image
                kind = "application/json; charset=utf-8" if as_json else "application/octet-stream"
                status, found = await connection.ask("POST", "/predict", body, kind=kind)
                assert status == 200
                assert found["digit"] == digits[which]
                assert 0.1 <= found["probability"] <= 1
                answered[200] += 1
        await connection.close()

    async def main():
        await asyncio.gather(*(client(range(k, REQUESTS, CONNECTIONS)) for k in range(CONNECTIONS)))

    asyncio.run(asyncio.wait_for(main(), 60))
    assert sum(answered.values()) == REQUESTS
    assert min(answered.values()) >= 90
    assert slowest_health < 5
    stop(server)


def test_shutdown_answers_what_is_in_flight(server, images, digits):
    async def main():
        connections = [Connection(server.port) for _ in range(40)]
        for which, connection in enumerate(connections):
            await connection.send("POST", "/predict", images[which].tobytes()[:-1], length=PIXELS)
        await asyncio.sleep(0.3)  # all have been accepted
        server.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        for which, connection in enumerate(connections):
            connection.writer.write(images[which].tobytes()[-1:])
        for which, connection in enumerate(connections):
            status, found = await connection.answer()
            assert (status, found["digit"]) == (200, digits[which])
            await connection.close()

    asyncio.run(asyncio.wait_for(main(), 60))
    _, err = server.communicate(timeout=60)
    assert server.returncode in (0, -signal.SIGTERM)
    assert err == ""


def test_httpx_against_the_service(server, images, digits):
    httpx = pytest.importorskip("httpx")

    async def main():
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            answers = await asyncio.gather(*(client.post("/predict", json=image.tolist()) for image in images[:20]))
            assert [answer.json()["digit"] for answer in answers] == list(digits[:20])
            assert (await client.get("/predict")).status_code == 405

    asyncio.run(main())
    stop(server)


def test_owl_and_numpy_agree_on_the_images(parameters, images, digits):
    from owl.apps.mnist.model import Perceptron

    model = Perceptron()
    model.restore({name: owl.from_numpy(array) for name, array in parameters.items()})
    found = model.predict(owl.from_numpy(images / 256.0)).to_numpy().argmax(1)
    np.testing.assert_array_equal(found, digits)
