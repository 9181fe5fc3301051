"""The machine, command, date and versions of a measurement, to report beside its figures."""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blitznet.runtime.threads import available_threads

PACKAGES = ("blitznet", "numpy", "pillow")
"""packages whose versions are reported by default"""


@dataclass(frozen=True, slots=True)
class Machine:
    """The computer that runs this process."""

    processor: str
    """model name"""
    cores: int
    """processors that this process may use"""
    total_cores: int
    """processors of the machine"""
    system: str
    """operating system and its version"""


def describe_machine() -> Machine:
    """Describe the computer that runs this process."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return Machine(
        processor=models[0] if models else platform.processor() or platform.machine(),
        cores=available_threads(),
        total_cores=os.cpu_count() or available_threads(),
        system=platform.platform(),
    )


def describe_run(program: str, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """The command line after `program`, the date, and versions of Python and packages, for JSON."""
    return {
        "command": f"{program} {shlex.join(sys.argv[1:])}".strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }
