"""A real object store, served on this machine and reached through s3fs as any S3 store."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from blitznet.bulk import remote
from blitznet.bulk.run import BulkSummary
from blitznet.core.errors import UsageError
from support.bulk import read_rows, run_fake, write_images, write_tar
from support.fake_engines import write_onnx
from support.images import encode_random_image

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # warnings of botocore and moto

BUCKET = "s3://bucket"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The store's file system; it has an empty bucket."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")):  # buckets outlive moto's server
        pass
    remote._file_system.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    file_system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    file_system.mkdir("bucket")
    yield file_system
    server.stop()
    remote._file_system.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def images(store: Any, tmp_path: Path) -> list[str]:
    """Keys of ten images, one of them broken, and of a tar file of five, in the bucket."""
    paths = write_images(tmp_path / "images", 10, subfolders=("a", "b"))
    Path(paths[3]).write_bytes(b"broken")
    store.put(str(tmp_path / "images"), "bucket/images", recursive=True)
    content = write_tar(tmp_path / "c.tar", {f"{n}.png": encode_random_image(n) for n in range(5)})
    store.pipe_file("bucket/images/c.tar", content)
    keys = [f"{BUCKET}/images/{path.partition('images/')[2]}" for path in sorted(paths)]
    return [*keys, *(f"{BUCKET}/images/c.tar/{n}.png" for n in range(5))]


def fetched_rows(store: Any, folder: Path) -> list[dict[str, Any]]:
    store.get("bucket/parts", str(folder), recursive=True)
    return read_rows(folder)


def versions(store: Any) -> dict[str, tuple[str, Any]]:
    return {info["name"]: (info["ETag"], info["LastModified"]) for info in store.ls("bucket/parts", detail=True)}


def test_images_and_parts_in_a_store(store: Any, images: list[str], tmp_path: Path) -> None:
    assert run_fake(f"{BUCKET}/parts", f"{BUCKET}/images") == BulkSummary(4, 15, 1, 15)
    rows = fetched_rows(store, tmp_path / "parts")
    assert [row["id"] for row in rows] == images
    assert [row["id"] for row in rows if row["error"]] == [f"{BUCKET}/images/b/0003.png"]
    before = versions(store)
    assert run_fake(f"{BUCKET}/parts", f"{BUCKET}/images") == BulkSummary(4, 15, 1, 0)
    assert versions(store) == before
    store.pipe_file("bucket/images/a/0000.png", encode_random_image(99))
    assert run_fake(f"{BUCKET}/parts", f"{BUCKET}/images").predicted == 4


def test_a_key_that_does_not_exist_is_a_row(store: Any, images: list[str], tmp_path: Path) -> None:
    store.pipe_file("bucket/list.txt", "\n".join([*images[:2], "gone.png", "empty.png"]).encode())
    store.pipe_file("bucket/empty.png", b"")
    assert run_fake(tmp_path / "parts", f"{BUCKET}/list.txt") == BulkSummary(1, 4, 2, 4)
    rows = read_rows(tmp_path / "parts")
    assert rows[2]["error"] == f"{BUCKET}/gone.png: cannot be read (there is no such file)"
    assert rows[3]["error"] == f"{BUCKET}/empty.png: expected an image, got an empty file"


def test_a_bucket_that_does_not_exist_is_one_line(store: Any, images: list[str]) -> None:
    with pytest.raises(UsageError, match=r"s3://nowhere/parts/part-000000-.*: cannot be written"):
        run_fake("s3://nowhere/parts", f"{BUCKET}/images")


def test_the_command_is_killed_and_continues(store: Any, images: list[str], tmp_path: Path) -> None:
    write_onnx(tmp_path / "small.onnx")
    words = ["batch", f"{BUCKET}/images", "--model", str(tmp_path / "small.onnx"), "--engine", "onnxruntime"]
    words = [sys.executable, "-m", "blitznet", *words, "--shard-size", "1", "--out", f"{BUCKET}/parts"]
    process = subprocess.Popen(words)
    while process.poll() is None and (not store.exists("bucket/parts") or len(store.ls("bucket/parts")) < 3):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = versions(store)
    assert subprocess.run(words, check=False).returncode == 1
    assert {name: version for name, version in versions(store).items() if name in before} == before
    assert [row["id"] for row in fetched_rows(store, tmp_path / "parts")] == images
