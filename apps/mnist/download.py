"""Downloading the four idx files into the cache with pooch."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from owl._files.whole import FileRefused, write_whole
from owl.apps.mnist import idx
from owl.apps.mnist.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MIRRORS_VARIABLE = "OWL_MNIST_MIRRORS"  # addresses separated by blanks, tried in order instead of MIRRORS
SHA256 = {  # of the decompressed files: a gzip container may be made anew, its content may not differ
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CONNECT_SECONDS = 10.0
HANG_UP_SECONDS = 1.0  # for a transfer that was given up to end
READ_SECONDS = 30.0
TRANSFER_SECONDS = 300.0  # for one file: the largest has 10 MB
MOST_BYTES = 64 << 20  # the largest has 47 MB when it is not compressed at all
CHUNK = 1 << 16
_ANOTHER = "the content is not the published one (sha256 differs)"


class DownloadError(Exception):
    """No mirror gave the data; the message says why, mirror by mirror."""


def mirrors() -> list[str]:
    """The mirrors in the order they are tried, each ending with a slash."""
    given = os.environ.get(MIRRORS_VARIABLE, "").split()
    return [address.rstrip("/") + "/" for address in given or MIRRORS]


def download(folder: Path, say: Callable[[str], None]) -> None:
    """Bring all four files, decompressed and verified, into ``folder``; files already right are left alone.

    Each file is written when its content is the published one, and in one step: a process that is killed leaves nothing
    else. A mirror that sends more than the files have, or takes longer than ``TRANSFER_SECONDS`` for one, is given up.
    Raises DownloadError.
    """
    try:
        import pooch
    except ImportError:
        raise DownloadError("downloading needs pooch: pip install 'owl-runtime[apps]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{folder}: {error.strerror}") from None
    pooch.get_logger().setLevel("ERROR")
    remaining = mirrors()
    failures: list[str] = []
    for name, digest in SHA256.items():
        if _is_right(folder / name, digest):
            continue
        while remaining:
            address = remaining[0] + name + ".gz"
            say(f"downloading {address}")
            try:
                content = idx.decompress(_fetch(address), address)
                if hashlib.sha256(content).hexdigest() != digest:
                    raise DataError(f"{address}: {_ANOTHER}")
            except Exception as error:
                failures.append(f"{remaining.pop(0)}: {_reason(error)}")
                continue
            try:
                write_whole(folder / name, content)
            except FileRefused as refusal:
                raise DownloadError(f"{folder / name}: {refusal}") from None
            break
        else:
            raise DownloadError("; ".join(failures))


def _is_right(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


class _Received(BytesIO):
    """What has arrived. Refuses more than any of the files has."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > MOST_BYTES:
            raise DataError(f"received: more than {MOST_BYTES} bytes")
        return super().write(data)


def _fetch(address: str) -> bytes:
    """The content at an address; raises what requests raises, DataError for too much, TimeoutError after too long.

    The transfer runs in a thread: a server that sends a byte now and then keeps the library waiting for a whole chunk,
    and no limit of a single read ends that.
    """
    import pooch

    bar = sys.stderr.isatty() and find_spec("tqdm") is not None
    timeout: Any = (_connect_timeout(address), READ_SECONDS)
    received = _Received()
    responses: list[Any] = []
    outcome: SimpleQueue[BaseException | None] = SimpleQueue()

    def transfer() -> None:
        error: BaseException | None = None
        try:
            pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=CHUNK,
                timeout=timeout,
                hooks={"response": lambda response, **_: responses.append(response)},
            )(address, received, None)
        except BaseException as caught:
            error = caught
        for response in responses:
            response.close()
        outcome.put(error)

    thread = threading.Thread(target=transfer, name="owl-download", daemon=True)
    thread.start()
    try:
        error = outcome.get(timeout=TRANSFER_SECONDS)
    except BaseException as late:
        for response in responses:
            _hang_up(response)
        thread.join(HANG_UP_SECONDS)
        if isinstance(late, Empty):
            raise TimeoutError from None
        raise
    thread.join()
    if error is not None:
        raise error
    return received.getvalue()


def _hang_up(response: Any) -> None:
    """Ends a transfer that was given up; closing it would wait for the read that is under way."""
    shutdown = getattr(response.raw, "shutdown", None)  # urllib3 has it since 2.3; before, the thread is left to itself
    if shutdown is not None:
        with suppress(Exception):  # it has ended already
            shutdown()


def _connect_timeout(address: str) -> float:
    """Seconds for one attempt: the addresses of a host are tried one after the other and share the limit."""
    parts = urlsplit(address)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        return CONNECT_SECONDS  # a proxy may know a host that this machine does not
    return max(1.0, CONNECT_SECONDS / len(found))


def _reason(error: Exception) -> str:
    """One short clause; requests' own messages run over several lines."""
    import requests

    if isinstance(error, TimeoutError):
        return f"the transfer took longer than {TRANSFER_SECONDS:.0f} s"
    if isinstance(error, DataError):
        return str(error).partition(": ")[2]
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.RequestException):
        return f"the transfer broke off ({type(error).__name__})"
    if isinstance(error, OSError):
        return f"{error.strerror}: {error.filename}"
    return f"{type(error).__name__}: {error}"
