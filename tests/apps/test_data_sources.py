"""Where the data comes from: what is named, the cache, a download, and digits where there is no network."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from owl.apps.mnist import data, download, idx
from owl.apps.mnist.dataset import Dataset
from owl.apps.mnist.errors import DataError

OTHER = b"\0\0\x08\x01" + bytes(4)  # an idx file: one dimension of no elements
REAL_DATA = os.environ.get("OWL_DATA", "")  # read before the tests change it


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, no data named, no proxy."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OWL_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


class Mirror:
    """A server on the loopback interface that gives ``answers`` and notes what it was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = False  # promise a whole file and hang up in the middle
        self.endless = b""  # sent again and again, until the other side hangs up
        self.pause = 0.0  # seconds between two of these
        self.closing = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.asked.append(name)
                body = mirror.answers.get(name)
                if mirror.endless:
                    self.send_without_end()
                    return
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                body = body or b""
                self.wfile.write(body[: len(body) // 2] if mirror.cut else body)

            def send_without_end(self) -> None:
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    while not mirror.closing.wait(mirror.pause):
                        self.wfile.write(mirror.endless)

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/mnist/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def start_mirror() -> Iterator[Callable[..., Mirror]]:
    """Start mirrors; they end with the test."""
    started: list[Mirror] = []

    def start(answers: dict[str, bytes] | None = None) -> Mirror:
        started.append(Mirror())
        started[-1].answers.update(answers or {})
        return started[-1]

    yield start
    for mirror in started:
        mirror.close()


@pytest.fixture
def published(idx_contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The small data set takes the place of the published one; returns what a mirror answers."""
    for name, content in idx_contents.items():
        monkeypatch.setitem(download.SHA256, name, hashlib.sha256(content).hexdigest())
    return {f"{name}.gz": gzip.compress(content, 1) for name, content in idx_contents.items()}


@pytest.fixture
def unreachable() -> Iterator[str]:
    """The address of a port that refuses connections: it is bound, and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"


def use(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setenv(download.MIRRORS_VARIABLE, " ".join(addresses))


def load() -> tuple[Dataset, str]:
    """The data set, and what was said."""
    lines: list[str] = []
    return data.load(say=lines.append), "\n".join(lines)


def assert_same(got: Dataset, expected: Dataset) -> None:
    for a, b in ((got.train, expected.train), (got.test, expected.test)):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


# what the user names


def test_a_folder_of_gzipped_idx_files(idx_folder: Path, small: Dataset) -> None:
    assert_same(data.load(idx_folder), small)


def test_a_folder_of_plain_idx_files(tmp_path: Path, idx_contents: dict[str, bytes], small: Dataset) -> None:
    for name, content in idx_contents.items():
        (tmp_path / name).write_bytes(content)
    assert_same(data.load(str(tmp_path)), small)


def test_a_matlab_file_and_a_folder_that_holds_it(mat_file: Path, small: Dataset) -> None:
    assert_same(data.load(mat_file), small)
    assert_same(data.load(mat_file.parent), small)


def test_the_variable_names_the_data(idx_folder: Path, small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWL_DATA", str(idx_folder))
    assert_same(data.load(), small)


def test_the_argument_comes_before_the_variable(
    idx_folder: Path, small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWL_DATA", "/nowhere")
    assert_same(data.load(idx_folder), small)


@pytest.mark.parametrize("by_variable", [True, False])
def test_named_data_that_is_not_there_is_an_error(
    tmp_path: Path, by_variable: bool, monkeypatch: pytest.MonkeyPatch, unreachable: str
) -> None:
    use(monkeypatch, unreachable)
    path = tmp_path / "nowhere"
    if by_variable:
        monkeypatch.setenv("OWL_DATA", str(path))
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        data.load(None if by_variable else path)


def test_a_folder_that_lacks_a_file_names_it(idx_folder: Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"neither mnist_all\.mat nor all idx files \(missing: t10k-labels-idx1-ubyte\)"
    ):
        data.load(idx_folder)


@pytest.mark.parametrize("name", idx.NAMES)
def test_a_truncated_file_of_a_folder_is_named(idx_folder: Path, name: str) -> None:
    path = idx_folder / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=f"{name}.gz: truncated"):
        data.load(idx_folder)


# the cache and the download


def test_a_download_fills_the_cache_and_the_cache_needs_no_network(
    start_mirror: Callable[..., Mirror], published: dict[str, bytes], small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = start_mirror(published)
    use(monkeypatch, mirror.address)
    first, said = load()
    assert_same(first, small)
    assert mirror.address in said
    assert sorted(mirror.asked) == sorted(published)
    assert sorted(path.name for path in data.cache_folder().iterdir()) == sorted(idx.NAMES)
    second, said = load()
    assert_same(second, small)
    assert said == ""
    assert len(mirror.asked) == 4


def test_another_gzip_container_is_as_good(
    start_mirror: Callable[..., Mirror],
    published: dict[str, bytes],
    idx_contents: dict[str, bytes],
    small: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "train-images-idx3-ubyte"
    published[f"{name}.gz"] = gzip.compress(idx_contents[name], 9, mtime=12345)
    use(monkeypatch, start_mirror(published).address)
    assert_same(load()[0], small)


def test_only_what_the_cache_lacks_is_downloaded(
    start_mirror: Callable[..., Mirror], published: dict[str, bytes], small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = start_mirror(published)
    use(monkeypatch, mirror.address)
    load()
    mirror.asked.clear()
    damaged = data.cache_folder() / "train-labels-idx1-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert_same(load()[0], small)
    assert mirror.asked == ["train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("fault", ["missing", "wrong", "truncated gzip", "hung up", "html", "unreachable"])
def test_the_second_mirror_helps_where_the_first_fails(
    start_mirror: Callable[..., Mirror],
    published: dict[str, bytes],
    small: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    unreachable: str,
    fault: str,
) -> None:
    name = "train-images-idx3-ubyte.gz"
    first, second = start_mirror(published), start_mirror(published)
    if fault == "missing":
        first.answers.clear()
    elif fault == "wrong":
        first.answers[name] = gzip.compress(b"something else")
    elif fault == "truncated gzip":
        first.answers[name] = first.answers[name][:-100]
    elif fault == "html":
        first.answers[name] = b"<html>please log in</html>"
    first.cut = fault == "hung up"
    use(monkeypatch, unreachable if fault == "unreachable" else first.address, second.address)
    got, _ = load()
    assert_same(got, small)
    assert len(second.asked) == 4
    assert sorted(path.name for path in data.cache_folder().iterdir()) == sorted(idx.NAMES)


@pytest.mark.parametrize(
    ("endless", "pause", "reason"),
    [(bytes(1 << 16), 0.0, "more than 1048576 bytes"), (b"\0", 0.01, "the transfer took longer than")],
    ids=["endless", "dripping"],
)
def test_a_mirror_that_never_ends_is_given_up(
    start_mirror: Callable[..., Mirror],
    monkeypatch: pytest.MonkeyPatch,
    endless: bytes,
    pause: float,
    reason: str,
) -> None:
    mirror = start_mirror()
    mirror.endless, mirror.pause = endless, pause
    monkeypatch.setattr(download, "MOST_BYTES", 1 << 20)
    if pause:
        monkeypatch.setattr(download, "TRANSFER_SECONDS", 1.0)
    use(monkeypatch, mirror.address)
    with pytest.raises(download.DownloadError, match=reason):
        download.download(data.cache_folder(), lambda _: None)
    assert len(mirror.asked) == 1
    assert list(data.cache_folder().iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "HTTP status 404"),
        (gzip.compress(b"something else"), "not an idx file"),
        (gzip.compress(OTHER), "not the published one"),
        (gzip.compress(OTHER)[:-9], "truncated gzip file"),
        (gzip.compress(OTHER + bytes(1 << 24)), "too long: its header announces 8 bytes"),
        (b"<html></html>", "not the published one"),
    ],
)
def test_digits_stand_in_and_the_reason_is_said(
    start_mirror: Callable[..., Mirror],
    published: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    reason: str,
) -> None:
    pytest.importorskip("sklearn")
    mirror = start_mirror({name: answer for name in published if answer is not None})
    use(monkeypatch, mirror.address)
    got, said = load()
    assert "digits" in got.source
    assert "not MNIST" in got.source
    assert reason in said
    assert mirror.address in said
    assert list(data.cache_folder().iterdir()) == []


def test_no_network_gives_digits_of_the_form_of_mnist(monkeypatch: pytest.MonkeyPatch, unreachable: str) -> None:
    pytest.importorskip("sklearn")
    use(monkeypatch, unreachable)
    got, said = load()
    assert "could not be downloaded" in said
    assert "no connection" in said
    assert len(got.train) + len(got.test) == 1797
    assert got.train.images.shape == (len(got.train), 784)
    assert got.train.images.dtype == np.uint8
    assert got.train.images.max() == 255
    assert set(got.test.labels) == set(range(10))
    middle = got.train.images.reshape(-1, 28, 28)
    assert middle[:, :2].max() == 0
    assert middle[:, :, 2:26].max() == 255


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, start_mirror: Callable[..., Mirror], published: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "cache").write_text("a file where a folder should be")
    use(monkeypatch, start_mirror(published).address)
    got, said = load()
    assert "digits" in got.source
    assert str(tmp_path / "cache") in said


def test_the_cache_follows_the_convention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data.cache_folder() == tmp_path / "cache" / "owl" / "mnist"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert data.cache_folder() == tmp_path / ".cache" / "owl" / "mnist"


def test_two_mirrors_are_known_and_others_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(download.MIRRORS_VARIABLE, raising=False)
    assert [address.split("/")[2] for address in download.mirrors()] == [
        "ossci-datasets.s3.amazonaws.com",
        "storage.googleapis.com",
    ]
    use(monkeypatch, "http://here", "http://there/mnist/")
    assert download.mirrors() == ["http://here/", "http://there/mnist/"]


@pytest.mark.skipif(
    not REAL_DATA or any(idx.find(Path(REAL_DATA), name) is None for name in idx.NAMES),
    reason="OWL_DATA names no folder of the idx files",
)
def test_the_real_data_has_the_published_hashes(tmp_path: Path) -> None:
    folder = Path(REAL_DATA)
    for name in idx.NAMES:
        source = idx.find(folder, name)
        assert source is not None
        (tmp_path / name).write_bytes(idx.decompress(idx.read_bytes(source), name))
    got = data.read_cache(tmp_path)
    assert got is not None
    assert (len(got.train), len(got.test)) == (60000, 10000)
    shutil.copy(tmp_path / "train-labels-idx1-ubyte", tmp_path / "t10k-labels-idx1-ubyte")
    assert data.read_cache(tmp_path) is None
