"""`predict` of a folder with as many images as the largest data sets have."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blitznet.runtime.image_paths import SAMPLES, find_images

COUNT = 250_000
MAX_MEMORY = 300 << 20
MAX_SECONDS = 10.0
"""from the start of the process to the first result, with its imports and the loading of the model"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sample image, and empty files that are listed after it."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "000000.jpg").write_bytes(next(iter(find_images([SAMPLES]))).read_bytes())
    for number in range(1, COUNT):
        (images / f"{number:06d}.jpg").touch()
    return images


def peak_memory(process: int) -> int:
    """Bytes of memory that a process had at most."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_first_result_of_many_images_is_written_at_once_in_little_memory(folder: Path, tmp_path: Path) -> None:
    assert len(find_images([folder])) == COUNT
    out = tmp_path / "out"
    command = [sys.executable, "-m", "blitznet", "predict", str(folder), "--out", str(out)]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not (out / "000000.jpg").exists():
                assert process.poll() is None, "the command ended before its first result"
                time.sleep(0.02)
            seconds, memory = time.monotonic() - start, peak_memory(process.pid)
        finally:
            process.kill()
    assert memory <= MAX_MEMORY
    assert seconds <= MAX_SECONDS
