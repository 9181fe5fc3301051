"""Every bad file in the table gives one clear line: what, where, and why; never a traceback or much memory."""

import shlex
from collections.abc import Iterator
from logging import WARNING
from pathlib import Path
from resource import RLIMIT_DATA, getrlimit, setrlimit
from time import process_time

import pytest

from blitznet.cli.main import main
from support.cli_datasets import write_model
from support.hostile.annotations import annotation_cases
from support.hostile.case import BadFile
from support.hostile.files import file_cases
from support.hostile.images import image_cases
from support.hostile.models import model_cases
from support.hostile.voc import voc_cases

CASES = [*image_cases(), *voc_cases(), *annotation_cases(), *file_cases(), *model_cases()]
MEMORY = 1 << 30
"""bytes that a command may allocate beyond what the process has"""
SECONDS = 10.0
"""processor time of a command, on any machine"""
PREFIX = "blitznet: error: "


@pytest.fixture
def memory_limit() -> Iterator[None]:
    """Let the process allocate little; more is a MemoryError, which gives another line than the row's."""
    limits = getrlimit(RLIMIT_DATA)
    used = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmData" in line)
    setrlimit(RLIMIT_DATA, (used * 1024 + MEMORY, limits[1]))
    yield
    setrlimit(RLIMIT_DATA, limits)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id.replace("/", "_"))
def test_a_bad_file_is_one_line(
    case: BadFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    memory_limit: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    case.write()
    if "small.onnx" in case.command and "small.onnx" not in case.files:
        write_model()
    start = process_time()
    code = main([*shlex.split(case.command), "-q"])
    seconds = process_time() - start
    output = capsys.readouterr()
    lines = [line for line in output.err.splitlines() if line.startswith(PREFIX)]
    assert len(lines) == 1, output.err
    assert case.line in lines[0]
    assert (code, output.err.count("\n")) == (case.code, 1), output.err
    assert lines[0].isprintable()
    assert [record for record in caplog.records if record.levelno >= WARNING] == []  # Python prints them
    assert len(lines[0]) < 1_200
    assert seconds < SECONDS


def test_the_table_is_long_and_each_row_is_unique() -> None:
    assert len(CASES) >= 200
    assert len({case.id for case in CASES}) == len(CASES)
