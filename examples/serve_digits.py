"""An HTTP service that reads digits: requests are gathered into batches, computed by owl, awaited and answered.

    python examples/serve_digits.py --port 8000 --load mlp.safetensors

POST /predict takes an image of 28x28 pixels, 0 (paper) to 255 (ink): 784 bytes as application/octet-stream, or a JSON
array of 784 numbers. It answers {"digit": 7, "probability": 0.98}; 422 if the body is no such image, and 413 if it is
longer than any such image could be. GET /health answers at any load. SIGTERM ends the service when all requests under
way have been answered.

Needs the extras: pip install 'owl-runtime[serve,uvloop]'
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import owl
import owl.aio
from owl.apps.mnist import checkpoint, data
from owl.apps.mnist.dataset import PIXELS, SCALE, batches
from owl.apps.mnist.model import Model, Perceptron
from owl.apps.mnist.options import Parser, at_least, one_line_errors

MAX_BODY = 16 * 1024  # bytes; 784 numbers of JSON take less
MAX_BATCH = 64
MAX_DELAY = 0.002  # seconds


class BadBody(Exception):
    """What is wrong with a request, and the status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Digits:
    """Predicts many digits at a time."""

    def __init__(self, model: Model) -> None:
        self.model = model

    async def predict(self, images: list[np.ndarray]) -> list[tuple[int, float]]:
        """Digit and probability for each image, uint8 ``[784]``."""
        x = await owl.aio.from_numpy(np.stack(images) * SCALE)
        probabilities = await owl.aio.to_numpy(self.model.predict(x))
        return [(int(row.argmax()), float(row.max())) for row in probabilities]


async def read_body(request: Request) -> bytes:
    """The body, unless it is too long: the rest is not waited for then."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise BadBody(413, f"an image takes less than {MAX_BODY} bytes")
    return bytes(body)


def parse_image(body: bytes, kind: str) -> np.ndarray:
    """The pixels, uint8 ``[784]``. Raises BadBody for anything else."""
    if kind == "application/json":
        try:
            pixels = json.loads(body)
        except (ValueError, RecursionError):
            raise BadBody(422, "the body is no JSON") from None
        # NumPy would make numbers of strings and of true, too.
        if not isinstance(pixels, list) or not all(type(pixel) in (int, float) for pixel in pixels):
            raise BadBody(422, "the body is not a JSON array of numbers")
        if len(pixels) != PIXELS or not all(0 <= pixel <= 255 for pixel in pixels):
            raise BadBody(422, f"an image has {PIXELS} numbers between 0 and 255")
        return np.array(pixels, np.float64).astype(np.uint8)
    if len(body) != PIXELS:
        raise BadBody(422, f"an image has {PIXELS} bytes, not {len(body)}")
    return np.frombuffer(body, np.uint8)


def create_app(model: Model, max_batch: int = MAX_BATCH, max_delay: float = MAX_DELAY) -> Starlette:
    """The service for a trained network."""
    digits = Digits(model)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with owl.aio.Batcher(digits.predict, max_batch, max_delay) as batcher:
            app.state.batcher = batcher
            yield

    async def predict(request: Request) -> Response:
        try:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            image = parse_image(await read_body(request), kind)
        except BadBody as error:
            return JSONResponse({"error": str(error)}, error.status)
        except ClientDisconnect:
            return Response(status_code=400)  # for nobody
        digit, probability = await request.app.state.batcher(image)
        return JSONResponse({"digit": digit, "probability": probability})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    routes = [Route("/predict", predict, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, lifespan=lifespan)


def load_model(path: Path) -> Model:
    """A perceptron with the parameters of a file that ``python -m owl.apps.mnist --save`` wrote."""
    model = Perceptron()
    shapes = {name: shape[::-1] for name, shape in model.shapes.items()}
    arrays = checkpoint.load(path, model.name, shapes)
    model.restore({name: owl.from_numpy(array) for name, array in arrays.items()})
    return model


def train_model(path: str | None) -> Model:
    """A perceptron after one epoch."""
    model = Perceptron()
    split = data.load(path).train
    for images, labels in batches(split, 256, np.random.default_rng(0).permutation(len(split))):
        model.step(owl.from_numpy(images), owl.from_numpy(labels), model.rate)
    owl.wait_for_all()
    return model


def main() -> None:
    """Serves until SIGINT or SIGTERM."""
    parser = Parser(description="Serve the recognition of digits over HTTP.")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=at_least(0), default=8000, help="0: any free port (default: %(default)s)")
    parser.add_argument("--load", type=Path, metavar="FILE", help="a trained network (default: train one epoch)")
    parser.add_argument("--data", metavar="PATH", help="where the training data lies")
    parser.add_argument("--max-batch", type=at_least(1), default=MAX_BATCH, help="default: %(default)s")
    options = parser.parse_args()

    owl.set_device(owl.create_cpu_device())
    with one_line_errors("serve_digits.py"):
        model = load_model(options.load) if options.load else train_model(options.data)
    config = uvicorn.Config(create_app(model, options.max_batch), log_level="warning")
    with socket.create_server((options.host, options.port), backlog=2048) as listening:
        host, port = listening.getsockname()[:2]
        print(f"listening on http://{host}:{port}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
