import os
from pathlib import Path

import pytest

from blitznet.core.errors import DataError, ModelError, UsageError
from blitznet.core.files import atomic_group, atomic_path, atomic_write, delete_leftovers, read_at_most, require_file
from blitznet.core.image import ImageSource


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_atomic_write_leaves_only_the_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "new" / "a.txt", b"one")
    atomic_write(tmp_path / "new" / "a.txt", b"two")
    assert contents(tmp_path / "new") == {"a.txt": b"two"}


def test_atomic_path_keeps_the_old_file_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"good")

    def write_bad() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"bad")
            raise ModelError(f"{temporary}: outputs differ")

    with pytest.raises(ModelError, match=f"^{path}: outputs differ$"):
        write_bad()
    assert contents(tmp_path) == {"a.onnx": b"good"}


def test_atomic_path_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.onnx"
    for content in (b"good", b"better"):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    assert contents(path.parent) == {"a.onnx": b"better"}


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match=f"^{tmp_path}/a: cannot be written"):
        atomic_write(tmp_path / "a", b"one")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".txt")
    atomic_write(path, b"one")
    assert path.read_bytes() == b"one"


def test_leftovers_of_killed_writers_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    remaining = ("last.safetensors", ".last.txt", ".best.46a81573.txt", ".mine.46a81573.safetensors", "tmprQYImz")
    for name in (".last.46a81573.safetensors", ".config.0000ffff.json", ".tmprQYImz", *remaining):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".tmpfolder").mkdir()
    delete_leftovers(tmp_path, ("last.safetensors", "config.json"))
    assert sorted(contents_of(tmp_path)) == sorted(remaining)
    delete_leftovers(tmp_path / "gone", ("last.safetensors",))


def contents_of(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").write_bytes(b"12345")
    for name in ("pipe", "zero"):
        with pytest.raises(OSError, match="expected a file, got a pipe or a device"):
            require_file(tmp_path / name)
        with pytest.raises(OSError, match="expected a file, got a pipe or a device"):
            read_at_most(tmp_path / name, 10)
        with pytest.raises(DataError, match="expected a file, got a pipe or a device"):
            ImageSource(tmp_path / name).read()
    assert read_at_most(tmp_path / "file", 10) == b"12345"
    assert read_at_most(tmp_path / "file", 2) == b"123"


def write_pair(path: Path, content: bytes) -> None:
    with atomic_group(path, path.with_suffix(".bin")) as folder:
        (folder / path.name).write_bytes(content)
        (folder / path.with_suffix(".bin").name).write_bytes(content)
        (folder / "other").write_bytes(b"")


def test_atomic_group_replaces_all_files_together(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        write_pair(tmp_path / "new" / "a.param", content)
        assert contents(tmp_path / "new") == {"a.param": content, "a.bin": content}


def test_atomic_group_replaces_folders(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic_group(tmp_path / "a") as folder:
            (folder / "a").mkdir()
            (folder / "a" / name).write_bytes(b"")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/new"]


def test_atomic_group_keeps_the_old_files_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.param"
    write_pair(path, b"good")

    def write_bad() -> None:
        with atomic_group(path) as folder:
            (folder / "a.param").write_bytes(b"bad")
            raise ModelError(f"{folder / 'a.param'}: outputs differ")

    with pytest.raises(ModelError, match=f"^{path}: outputs differ$"):
        write_bad()
    assert contents(tmp_path) == {"a.param": b"good", "a.bin": b"good"}


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_atomic_group_puts_the_old_files_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    path, rename, calls = tmp_path / "a.param", Path.rename, 0
    write_pair(path, b"good")

    def rename_or_fail(source: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", rename_or_fail)
    with pytest.raises(UsageError, match="No space left"):
        write_pair(path, b"bad")
    assert contents(tmp_path) == {"a.param": b"good", "a.bin": b"good"}


def test_the_first_path_of_a_group_exists_only_with_its_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = tmp_path / "a.param", Path.rename
    states: list[dict[str, bytes]] = []
    write_pair(path, b"old")

    def record(self: Path, target: Path) -> Path:
        result = rename(self, target)
        states.append({name: content for name, content in files_of(tmp_path).items() if name.startswith("a.")})
        return result

    monkeypatch.setattr(Path, "rename", record)
    write_pair(path, b"new")
    assert len(states) == 4
    for state in states:
        assert "a.param" not in state or state["a.param"] == state["a.bin"]
    assert states[-1] == {"a.param": b"new", "a.bin": b"new"}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_group_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file/a: cannot be written"), atomic_group(tmp_path / "file" / "a"):
        pass
