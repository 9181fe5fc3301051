"""What every benchmark does around its measuring: find the images, print a table, write down where it was run."""

import dataclasses
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

DATA = Path(__file__).parents[2] / "shared" / "data"
"""the images, in a folder beside the repository"""
PACKAGES = ("blitznet", "numpy", "onnxruntime", "pillow", "torch")

FILE_WIDTH = 120
"""columns of a table that goes into a file"""


def require_images(root: Path) -> None:
    """End the benchmark, without blame, where there are no images."""
    if not root.is_dir():
        print(f"skipped: there are no images in {root} (--root names another folder)")
        sys.exit(0)


def say(text: str) -> None:
    """A line of progress, beside the table."""
    Console(stderr=True, highlight=False).print(text, markup=False)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print a table and what is to be said under it; the first column is text, the others numbers."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=not place)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as percent; what was not measured as a dash."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def write(path: Path | None, options: Any, **results: Any) -> None:
    """Write what was found as JSON, if a file was asked for, with what it takes to find it again."""
    if path is None:
        return
    report = {
        "command": "python " + shlex.join(sys.argv),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "options": plain(options),
    }
    path.write_text(json.dumps(report | plain(results), indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Processor, how many of its cores this process may use, and the threads torch makes of them."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def plain(value: Any) -> Any:
    """Values that JSON knows; floats with six digits after the point."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6)
    return str(value) if isinstance(value, Path) else value
