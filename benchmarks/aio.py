"""What awaiting costs, how late the event loop is beside training, and what a service gains by batches.

``python -m benchmarks.aio`` runs all three parts; ``--part awaits``, ``lag`` or ``server`` one of them. Each part is
measured in processes of its own, on asyncio's own event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Idleness, circumstances, threads

BURST = 1000
PARTS = ("awaits", "lag", "server")


def set_up() -> Any:
    import owl
    import owl.aio

    owl.set_device(owl.create_cpu_device())
    return owl


# --------------------------------------------------------------------------------------------------------------- awaits


async def _seconds_each(one: Callable[[], Awaitable[Any]], count: int, together: bool) -> float:
    begin = time.perf_counter()
    if together:
        await asyncio.gather(*(one() for _ in range(count)))
    else:
        for _ in range(count):
            await one()
    return (time.perf_counter() - begin) / count


async def _measure_awaits(rounds: int) -> dict[str, float]:
    """Seconds per await. Bursts are of as many awaits, by as many tasks or by one task that has begun all of them."""
    owl = set_up()
    x = await (owl.ones([16]) + 0)

    async def pending() -> None:
        await (x + 1)

    async def evaluations() -> None:
        await asyncio.gather(*[(x + 1).eval() for _ in range(BURST)])

    async def one_after_the_other() -> None:
        for evaluation in [(x + 1).eval() for _ in range(BURST)]:
            await evaluation

    async def threads() -> None:
        await asyncio.gather(*[asyncio.to_thread(int) for _ in range(BURST)])

    async def nothing() -> None:
        await asyncio.sleep(0)

    async def ready() -> None:
        await x

    async def several() -> None:
        await owl.aio.gather(*[x + 1 for _ in range(BURST)])

    async def thread() -> None:
        await asyncio.to_thread(int)

    contestants = {
        "owl, one at a time": (pending, 100, False, 1),
        "to_thread, one at a time": (thread, 100, False, 1),
        f"owl, asyncio.gather of {BURST} evaluations": (evaluations, 1, False, BURST),
        f"owl, {BURST} evaluations, each awaited": (one_after_the_other, 1, False, BURST),
        f"owl, owl.aio.gather of {BURST} arrays": (several, 1, False, BURST),
        f"to_thread, asyncio.gather of {BURST}": (threads, 1, False, BURST),
        f"owl, {BURST} tasks that await one array each": (pending, BURST, True, 1),
        f"to_thread, {BURST} tasks that await one each": (thread, BURST, True, 1),
        f"asyncio alone: {BURST} tasks that sleep(0)": (nothing, BURST, True, 1),
        "owl, ready": (ready, 10_000, False, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (one, count, together, divisor) in contestants.items():
            seconds[name].append(await _seconds_each(one, count, together) / divisor)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report_awaits(found: dict[str, float]) -> str:
    rows = ["| per await | median, µs | share of to_thread |", "|---|---:|---:|"]
    alone = found["to_thread, one at a time"]
    burst = found[f"to_thread, asyncio.gather of {BURST}"]
    for name, value in found.items():
        share = f"{value / (burst if str(BURST) in name else alone):.2f}"
        rows.append(f"| {name} | {value * 1e6:.2f} | {share} |")
    return "\n".join(rows)


# ------------------------------------------------------------------------------------------------------------------ lag

SPIN = "int main(void) { for (volatile unsigned long n = 0;; ++n) {} }\n"


async def _lag_of(task: Awaitable[Any], seconds: float) -> dict[str, float]:
    import owl.aio

    work = asyncio.ensure_future(task)
    await asyncio.sleep(0.5)
    async with owl.aio.LagMonitor(interval=0.002) as lag:
        await asyncio.sleep(seconds)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    return {"p50": lag.p50, "p99": lag.p99, "worst": lag.worst}


async def _train_flat_out() -> None:
    import owl.aio
    from benchmarks.step import RATE, OwlStep, batches, initial_parameters

    step = OwlStep(initial_parameters(), RATE, owl.get_num_threads())
    data = batches()[:8]
    while True:
        for x, y in data:
            await owl.aio.ready()
            step(x, y)


def _measure_lag(seconds: float) -> dict[str, dict[str, float]]:
    owl = set_up()
    cores = threads()
    found = {"idle": asyncio.run(_lag_of(asyncio.sleep(0), seconds))}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "spin.c"
        source.write_text(SPIN)
        program = source.with_suffix("")
        subprocess.run(["cc", "-O1", "-o", str(program), str(source)], check=True)
        spinning = [subprocess.Popen([str(program)]) for _ in range(cores)]
        try:
            found[f"beside {cores} C programs that spin"] = asyncio.run(_lag_of(asyncio.sleep(0), seconds))
        finally:
            for process in spinning:
                process.kill()
                process.wait()
    owl.set_num_threads(cores)
    found[f"training on all {cores} cores"] = asyncio.run(_lag_of(_train_flat_out(), seconds))
    if cores > 1:
        owl.set_num_threads(cores - 1)
        found["training with one core left free"] = asyncio.run(_lag_of(_train_flat_out(), seconds))
    return found


def report_lag(found: dict[str, dict[str, float]]) -> str:
    rows = ["| lag of the loop, ms | p50 | p99 | worst |", "|---|---:|---:|---:|"]
    for name, lag in found.items():
        rows.append(f"| {name} | " + " | ".join(f"{lag[key] * 1e3:.2f}" for key in ("p50", "p99", "worst")) + " |")
    return "\n".join(rows)


# --------------------------------------------------------------------------------------------------------------- server

HIDDEN = 2048  # the service's network: large enough that computing is what a request costs
REQUEST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 784\r\n\r\n" + bytes(range(256)) * 3 + bytes(16)
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def serve(kind: str) -> None:
    """The same service thrice: owl with batches, owl without, and NumPy in a thread for each request."""
    import socket

    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    rng = np.random.default_rng(0)
    shapes = ((784, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 10))
    weights = [(rng.standard_normal(shape) * 0.02).astype(np.float32) for shape in shapes]
    owl = set_up()
    layers = [owl.from_numpy(weight) for weight in weights]

    async def by_owl(images: list[np.ndarray]) -> list[int]:
        x = await owl.aio.from_numpy(np.stack(images))
        for layer in layers[:-1]:
            x = owl.elewise.relu(layer * x)
        return [int(row.argmax()) for row in await owl.aio.to_numpy(layers[-1] * x)]

    def by_numpy(image: np.ndarray) -> int:
        x = image
        for weight in weights[:-1]:
            x = np.maximum(x @ weight, 0)
        return int((x @ weights[-1]).argmax())

    batcher = owl.aio.Batcher(by_owl, max_batch=64)

    async def predict(request: Any) -> JSONResponse:
        image = np.frombuffer(await request.body(), np.uint8).astype(np.float32)
        if kind == "batched":
            digit = await batcher(image)
        elif kind == "unbatched":
            digit = (await by_owl([image]))[0]
        else:
            digit = await asyncio.to_thread(by_numpy, image)
        return JSONResponse({"digit": digit})

    async def health(_: Any) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)])
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(head.decode())
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    await reader.readexactly(int(length.partition(b":")[2]))


async def _load(port: int, seconds: float, connections: int) -> dict[str, float]:
    """Answers a second, and the 99th percentile of /health beside them."""
    answered = 0
    health: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            await _ask(reader, writer, REQUEST)
            answered += 1
        writer.close()

    async def prober() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            await _ask(reader, writer, HEALTH)
            health.append(time.perf_counter() - begin)
            await asyncio.sleep(0.005)
        writer.close()

    await asyncio.gather(prober(), *(client() for _ in range(connections)))
    return {"rate": answered / seconds, "p99": sorted(health)[int(len(health) * 0.99)]}


def _measure_server(seconds: float) -> dict[str, dict[str, float]]:
    names = {"batched": "owl, batches", "unbatched": "owl, one by one", "numpy": "NumPy in to_thread"}
    found = {}
    for kind, name in names.items():
        command = [sys.executable, "-m", "benchmarks.aio", "--serve", kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            try:
                port = int(process.stdout.readline())
                asyncio.run(_load(port, 1, 64))
                found[name] = asyncio.run(_load(port, seconds, 64))
            finally:
                process.terminate()
    return found


def report_server(found: dict[str, dict[str, float]]) -> str:
    rows = ["| service | predictions/s | /health p99, ms |", "|---|---:|---:|"]
    rows += [f"| {name} | {one['rate']:.0f} | {one['p99'] * 1e3:.1f} |" for name, one in found.items()]
    return "\n".join(rows)


# ----------------------------------------------------------------------------------------------------------------- main


def measure(part: str, seconds: float, rounds: int) -> Any:
    if part == "awaits":
        return asyncio.run(_measure_awaits(rounds))
    return _measure_lag(seconds) if part == "lag" else _measure_server(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--rounds", type=int, default=25, help="turns for each way of awaiting")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement of lag and of services")
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=["batched", "unbatched", "numpy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.measure:
        print(json.dumps(measure(options.measure, options.seconds, options.rounds)))
        return

    reports: dict[str, Callable[[Any], str]] = {"awaits": report_awaits, "lag": report_lag, "server": report_server}
    with Idleness() as idleness:
        for part in [options.part] if options.part else PARTS:
            command = [sys.executable, "-m", "benchmarks.aio", "--measure", part]
            command += ["--seconds", str(options.seconds), "--rounds", str(options.rounds)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
            print(reports[part](json.loads(done.stdout)), end="\n\n", flush=True)
    print(circumstances(idleness, ("owl-runtime", "numpy", "uvicorn", "starlette")))


if __name__ == "__main__":
    main()
