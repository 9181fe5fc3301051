"""The command is killed at random moments; it continues, and every image is in one part."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blitznet.bulk.parquet import read_summary
from support.bulk import parts, read_rows, write_images, write_tar
from support.fake_engines import write_onnx
from support.images import encode_random_image

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("BLITZNET_KILLS", "100"))
"""number of kills"""
FILES, MEMBERS = 40, 12
WORDS = ["batch", "images", "--model", "small.onnx", "--engine", "onnxruntime", "--shard-size", "2", "--out"]
_LIMIT_SECONDS = 300.0


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images and a tar file in `images`; one of them is broken."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("small.onnx"))
    write_images(Path("images"), FILES)
    write_tar(Path("images/more.tar"), {f"{n}.png": encode_random_image(n) for n in range(MEMBERS)})
    Path("images/0007.png").write_bytes(b"broken")
    return tmp_path


def start(out: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "blitznet", *WORDS, str(out)], stdout=subprocess.DEVNULL)


def kill_somewhere(process: "subprocess.Popen[bytes]", out: Path, rng: random.Random) -> bool:
    """Kill the process at its start, or in or after one of its parts; whether it was still running."""
    count = len(parts(out)) + rng.choice([-1, 0, 1, 2, 3])
    deadline = time.monotonic() + _LIMIT_SECONDS
    while len(parts(out)) <= count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.03))
    is_running = process.poll() is None
    process.kill()
    process.wait()
    return is_running


def assert_parts_are_whole(out: Path) -> None:
    for path in parts(out):
        with path.open("rb") as file:
            assert read_summary(file, path.name) is not None


def test_random_kills(source: Path) -> None:
    assert start(source / "whole").wait() == 1
    expected = {path.name: path.read_bytes() for path in (source / "whole").iterdir()}
    assert len(read_rows(source / "whole")) == FILES + MEMBERS
    rng, kills, number = random.Random(0), 0, 0
    while kills < KILLS:
        out = source / f"out-{number}"
        while kills < KILLS and kill_somewhere(start(out), out, rng):
            kills += 1
            assert_parts_are_whole(out)
        assert start(out).wait() == 1
        assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
        ids = [row["id"] for row in read_rows(out)]
        assert len(ids) == len(set(ids)) == FILES + MEMBERS
        number += 1
