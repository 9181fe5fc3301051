from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.core.photo import Photo
from blitznet.runtime.photos import SAMPLES, find_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.JPEG", "c.png", "notes.txt", "deep/d.jpg", "empty/x.txt", "odd[1].jpg", "plain"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "wanted"),
    [
        (["b.jpg"], ["b.jpg"]),
        (["plain", "notes.txt"], ["plain", "notes.txt"]),
        (["."], ["a.JPEG", "b.jpg", "c.png", "odd[1].jpg"]),
        (["deep", "b.jpg"], ["deep/d.jpg", "b.jpg"]),
        (["*.jpg"], ["b.jpg", "odd[1].jpg"]),
        (["**/*.jpg"], ["b.jpg", "deep/d.jpg", "odd[1].jpg"]),
        (["odd[1].jpg"], ["odd[1].jpg"]),
        (["c.png", ".", "c.png"], ["c.png", "a.JPEG", "b.jpg", "odd[1].jpg"]),
    ],
)
def test_sources(folder: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], wanted: list[str]) -> None:
    monkeypatch.chdir(folder)
    assert find_photos(sources) == [Path(name) for name in wanted]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.jpg", r"^none\.jpg: there is no such file or folder$"),
        ("empty", r"^empty: there is no photo in this folder \(.*\); folders inside it are not searched, name them"),
        ("*.webp", r"^\*\.webp: no photo matches \(\.jpg, .*\)$"),
        ("*.txt", r"^\*\.txt: no photo matches"),
    ],
)
def test_sources_without_photos(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=message):
        find_photos([source])


def test_none_means_the_samples() -> None:
    photos = find_photos()
    assert len(photos) >= 2
    named = (SAMPLES / "CREDITS.md").read_text(encoding="utf-8")
    for photo in photos:
        assert f"`{photo.name}`" in named
        assert photo.stat().st_size < 200_000
        assert min(Photo(photo).size()) >= 300
