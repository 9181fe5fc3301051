from pathlib import Path
from zipfile import ZipFile

import pytest

from blitznet.core.errors import ModelError, UsageError
from blitznet.nets.program_engine import ProgramEngine
from support.fake_engines import SPEC


def write(path: Path, text: str | None) -> Path:
    """A zip with a spec and no program."""
    with ZipFile(path, "w") as file:
        file.writestr("archive/archive_version", "0")
        if text is not None:
            file.writestr("archive/extra/blitznet", text)
    return path


def test_files_that_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.pt2: expected a model file, got no file"):
        ProgramEngine(tmp_path / "gone.pt2")
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.pt2: cannot be read as a torch program \(File is not a zip file\)"):
        ProgramEngine(tmp_path / "text.pt2")
    with pytest.raises(ModelError, match=r"a\.pt2: expected a blitznet model, got a file without 'blitznet' metadata"):
        ProgramEngine(write(tmp_path / "a.pt2", None))
    with pytest.raises(ModelError, match=r"b\.pt2: expected the spec of a blitznet model, got something else"):
        ProgramEngine(write(tmp_path / "b.pt2", "{}"))


def test_a_program_that_torch_cannot_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        ModelError, match=r"a\.pt2: torch \S+ cannot open the program \(.*\); export it again"
    ) as caught:
        ProgramEngine(write(tmp_path / "a.pt2", SPEC.to_json()))
    assert "\n" not in str(caught.value)
    assert not caplog.records


def test_threads_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        ProgramEngine(write(tmp_path / "a.pt2", SPEC.to_json()), threads=0)
