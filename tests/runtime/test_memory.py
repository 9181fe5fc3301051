import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from blitznet.runtime.memory import keep_freed_memory
if sys.argv[1] == "kept":
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory as they like")
def test_no_page_is_taken_anew_for_each_image() -> None:
    pages = {
        how: int(subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, capture_output=True).stdout)
        for how in ("kept", "not")
    }
    assert pages["kept"] < 10
    assert pages["not"] > 100  # else the C library has learned to do without us
