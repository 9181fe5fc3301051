import asyncio
import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from blitznet.serve.memory import keep_trimmed, trim_memory

needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only glibc returns memory on request: mallopt(3), malloc_trim(3)",
)
LARGE_BLOCKS = """
import json, threading
from pathlib import Path
from blitznet.serve.memory import return_large_blocks, trim_memory

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

assert return_large_blocks()
text = b"[" + b"null," * 3_000_000 + b"null]"
before = resident_mb()
for _ in range(2):
    threads = [threading.Thread(target=json.loads, args=[text]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
trim_memory()
print(resident_mb() - before)
"""


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@needs_glibc
def test_freed_memory_is_returned_to_the_system() -> None:
    blocks = [b"x" * 100_000 for _ in range(2000)]
    pins = blocks[::100]  # between free blocks, which the C library cannot return by itself
    peak = resident_mb()
    del blocks
    assert trim_memory()
    assert resident_mb() < peak - 100
    assert len(pins) == 20


@needs_glibc
def test_large_blocks_of_threads_are_returned_to_the_system() -> None:
    result = subprocess.run([sys.executable, "-c", LARGE_BLOCKS], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 15, "each thread would keep a list of 24 MB"


def test_memory_is_trimmed_once_after_requests_when_none_is_under_way() -> None:
    counts, idle, trims = [0], [True], []

    async def run() -> None:
        task = asyncio.create_task(
            keep_trimmed(lambda: idle[0], lambda: counts[0], interval=0.01, trim=lambda: trims.append(counts[0]))
        )
        await asyncio.sleep(0.05)
        assert trims == []
        counts[0], idle[0] = 3, False
        await asyncio.sleep(0.05)
        assert trims == []
        idle[0] = True
        while not trims:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(run())
    assert trims == [3]
