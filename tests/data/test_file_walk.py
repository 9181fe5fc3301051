"""Walking the folders of a dataset."""

from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.data.file_walk import composed, walk_files


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def names(root: Path, *, depth: int | None = None) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in walk_files(root, depth=depth))


def test_hidden_files_and_folders_of_operating_systems_are_left_out(tmp_path: Path) -> None:
    for name in ("a.jpg", "day/b.jpg", ".c.jpg", ".cache/d.jpg", "__MACOSX/e.jpg", "day/@eaDir/b.jpg/THUMB.jpg"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["a.jpg", "day/b.jpg"]
    assert names(tmp_path, depth=1) == ["a.jpg"]
    assert names(tmp_path / "gone") == []


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "set"
    touch(tmp_path / "disk" / "a.jpg")
    (root / "images").mkdir(parents=True)
    for split in ("train", "val"):
        (root / "images" / split).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(root)
    assert names(root) == ["images/train/a.jpg", "images/val/a.jpg"]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        list(walk_files(tmp_path))


def test_accents_are_composed() -> None:
    assert composed("cafe\u0301.jpg") == "caf\u00e9.jpg"
