"""reuse_freed_memory: a freed block is reused without new pages of the system."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import sys
import torch
from blitznet.train.memory import reuse_freed_memory
if sys.argv[1] == "reuse":
    assert reuse_freed_memory()
def step():
    torch.ones(48 * 2**20 // 4)
for _ in range(10):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 5 * 48 * 2**20 // 4096


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_blocks_are_reused() -> None:
    faults = {
        word: int(subprocess.run([sys.executable, "-c", SCRIPT, word], check=True, capture_output=True).stdout)
        for word in ("default", "reuse")
    }
    assert faults["default"] > 0.9 * PAGES
    assert faults["reuse"] < 0.05 * PAGES
