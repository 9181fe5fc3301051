from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pytest

from blitznet.bulk import remote
from blitznet.bulk.remote import fetch, names_in, remote_entry
from blitznet.bulk.source_files import find_files
from blitznet.core.errors import DataError, UsageError
from support.bulk import read_rows, run_fake
from support.images import encode_random_image


class Handler(BaseHTTPRequestHandler):
    """Images under /N.png, a list of them, an endless answer, and errors."""

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        if name == "list.txt":
            self._send("\n".join(["1.png", f"http://{self.headers['Host']}/image?id=2", "gone.png"]).encode())
        elif name == "endless.png":
            self.send_response(200)
            self.end_headers()
            with_limit = 64
            for _ in range(with_limit):
                self.wfile.write(b"x" * 1024)
        elif name.endswith(".png") and name[:-4].isdecimal():
            self._send(encode_random_image(int(name[:-4])))
        elif name.startswith("image"):
            self._send(encode_random_image(2))
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        self.send_error(405)

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A web server of images."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()


def test_images_behind_http(server: str, tmp_path: Path) -> None:
    summary = run_fake(tmp_path / "out", f"{server}/list.txt")
    assert (summary.images, summary.errors) == (3, 1)
    rows = read_rows(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"{server}/1.png", f"{server}/image?id=2", f"{server}/gone.png"]
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert rows[2]["error"].startswith(f"{server}/gone.png: cannot be read")


def test_an_answer_has_a_limit(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_IMAGE_BYTES", 1000)
    with pytest.raises(DataError, match="expected an image of at most"):
        fetch(f"{server}/endless.png")


def test_a_host_that_cannot_be_reached_is_the_images_error() -> None:
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/a.png: cannot be read"):
        fetch("http://127.0.0.1:9/a.png")


def test_files_of_a_store() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("b/2.png", "b/1.png", "a.jpg", "c.tar", "notes.md"):
        memory.pipe_file(f"/batch-files/{name}", b"x")
    files = list(find_files(["memory://batch-files"]))
    assert [file.path.rpartition("batch-files/")[2] for file in files] == ["a.jpg", "b/1.png", "b/2.png", "c.tar"]
    assert [fetch(file.path) for file in files] == [b"x"] * 4
    assert [file.path for file in find_files(["memory://batch-files/b/*.png"])] == [
        file.path for file in files if "/b/" in file.path
    ]
    assert names_in("memory://batch-nothing") == set()
    with pytest.raises(DataError, match="there is no such file"):
        fetch("memory://batch-files/gone.png")
    with pytest.raises(DataError, match="there is no such file"):
        remote_entry("memory://batch-gone")


def test_a_store_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> bytes:
        raise TimeoutError("the store is down")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    with pytest.raises(UsageError, match=r"the store is down.*; run the command again to continue"):
        fetch("memory://batch-files/a.jpg")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://a/b.png", "nonsense://: expected a kind of URL that fsspec opens, got an unknown one"),
        ("dropbox://a/b.png", "dropbox:// URLs: expected the package that opens them"),
    ],
)
def test_stores_that_cannot_be_opened(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fetch(url)
