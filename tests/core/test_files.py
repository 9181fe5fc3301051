from pathlib import Path

import pytest

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.files import atomic_path, atomic_write


def test_writing_whole_leaves_nothing_beside(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.txt", b"one")
    atomic_write(tmp_path / "a.txt", b"two")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "two")]


def test_what_is_not_good_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"good")

    def write_bad() -> None:
        with atomic_path(path) as fresh:
            fresh.write_bytes(b"bad")
            raise ModelError(f"{fresh}: answers otherwise")

    with pytest.raises(ModelError, match=f"^{path}: answers otherwise$"):
        write_bad()
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.onnx", b"good")]
    with atomic_path(path) as fresh:
        fresh.write_bytes(b"better")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.onnx", b"better")]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match=f"^{tmp_path}/a: cannot be written"):
        atomic_write(tmp_path / "a", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
