"""Downloading the four idx files into the cache with pooch."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
READ_SECONDS = 30.0
CHUNK = 1 << 16


class DownloadError(Exception):
    """No mirror gave the data; the message says why, mirror by mirror."""


def mirrors() -> list[str]:
    """The mirrors in the order they are tried, each ending with a slash."""
    given = os.environ.get(MIRRORS_VARIABLE, "").split()
    return [address.rstrip("/") + "/" for address in given or MIRRORS]


def download(folder: Path, say: Callable[[str], None]) -> None:
    """Bring all four files, decompressed and verified, into ``folder``; files already right are left alone.

    Each file is written aside and moved into place when its content is the published one. Raises DownloadError.
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
        while remaining:
            address = remaining[0] + name + ".gz"
            say(f"downloading {address}")
            try:
                pooch.retrieve(address, f"sha256:{digest}", fname=name, path=folder, downloader=_fetch)
                break
            except Exception as error:
                failures.append(f"{remaining.pop(0)}: {_reason(error)}")
        else:
            raise DownloadError("; ".join(failures))


def _fetch(address: str, output_file: str, _pooch: object) -> None:
    """Download for pooch: write the *decompressed* content, so that pooch verifies that and not the container."""
    import pooch

    bar = sys.stderr.isatty() and find_spec("tqdm") is not None
    timeout: Any = (_connect_timeout(address), READ_SECONDS)
    received = BytesIO()
    pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=timeout)(address, received, None)
    Path(output_file).write_bytes(idx.decompress(received.getvalue(), address))


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
    if "hash" in str(error):
        return "the content is not the published one (sha256 differs)"
    return f"{type(error).__name__}: {error}"
