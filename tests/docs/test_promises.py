"""Tests, benchmarks and commands that docs/reference/promises.md names exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "promises.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "promise | tested by" not in line]
TARGETS = re.findall(r"`((?:[\w/.-]+\.py(?:::\w+)?)|(?:benchmarks\.[\w.]+)|(?:make \w+))`", PAGE.read_text())
"""files, files with the name of a test, modules of benchmarks, and commands"""


def exists(target: str) -> bool:
    """Whether a target is in the repository; a file without a folder is in tests/serve."""
    if target.startswith("make "):
        return f"\n{target.removeprefix('make ')}: " in (ROOT / "Makefile").read_text()
    if target.startswith("benchmarks."):
        return (ROOT / f"{target.replace('.', '/')}.py").is_file()
    name, _, test = target.partition("::")
    path = ROOT / name if "/" in name else ROOT / "tests" / "serve" / name
    return path.is_file() and (not test or f"def {test}(" in path.read_text())


@pytest.mark.parametrize("target", sorted(set(TARGETS)))
def test_what_keeps_a_promise_exists(target: str) -> None:
    assert exists(target)


def test_every_promise_names_what_keeps_it() -> None:
    bounds = PAGE.read_text().partition("| file | bound |")[2].partition("\n\n")[0].splitlines()
    headers = ("| promise | kept by |", "| file | bound |")
    promises = [row for row in ROWS if row not in (*headers, *bounds) and "---" not in row]
    assert promises
    assert [row for row in promises if "`" not in row.rsplit("|", 2)[1] and "the same" not in row] == []


@pytest.mark.parametrize(
    "target", ["tests/no.py", "tests/docs/test_promises.py::test_no", "make nothing", "benchmarks.no"]
)
def test_the_check_finds_what_is_missing(target: str) -> None:
    assert not exists(target)
