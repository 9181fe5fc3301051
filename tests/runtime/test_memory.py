import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from blitznet.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def image():
    arrays = [np.ones(1 << 20, np.uint8) for _ in range(6)]
for _ in range(5):
    image()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    image()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_freed_memory_is_reused() -> None:
    pages = {
        mode: int(subprocess.run([sys.executable, "-c", PROGRAM, mode], check=True, capture_output=True).stdout)
        for mode in ("keep", "default")
    }
    assert pages["keep"] < 10
    assert pages["default"] > 100  # otherwise the C library does this by default now
