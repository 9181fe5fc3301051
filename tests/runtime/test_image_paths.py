from pathlib import Path

import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.runtime.image_paths import SAMPLES, find_images, in_number_order, skipped_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.JPEG", "c.png", "notes.txt", "deep/d.jpg", "empty/x.txt", "odd[1].jpg", "plain"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "expected"),
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
def test_find_images_expands_sources(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], expected: list[str]
) -> None:
    monkeypatch.chdir(folder)
    assert list(find_images(sources)) == [Path(name) for name in expected]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.jpg", r"^none\.jpg: expected an image, a folder or a glob, got a path that does not exist$"),
        ("empty", r"^empty: expected images in this folder \(.*\), got none; subfolders are not searched, name them"),
        ("*.webp", r"^\*\.webp: expected a glob that matches images \(\.jpg, .*\), got no match$"),
        ("*.txt", r"^\*\.txt: expected a glob that matches images"),
    ],
)
def test_find_images_refuses_sources_without_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=message):
        find_images([source])


def test_broken_links_are_reported_by_the_reader(folder: Path) -> None:
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "loop.heic").symlink_to("loop.heic")
    for source in (folder, folder / "*.jpg"):
        names = [path.name for path in find_images([source])]
        assert names[-2:] == ["loop.jpg", "odd[1].jpg"]
        assert "gone.jpg" in names
    assert skipped_images([folder]) == {".heic": 1}
    for name, message in (("gone.jpg", "got a path that does not exist"), ("loop.jpg", r"cannot be read \(Too many")):
        with pytest.raises(DataError, match=message):
            ImageSource(folder / name).read()


def test_a_loop_of_links_does_not_repeat_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "a-self").symlink_to(".")
    (folder / "deep" / "link.jpg").symlink_to("d.jpg")  # a name of its own, as of a copy
    images = [str(path) for path in find_images(["**/*.jpg"])]
    assert images == ["b.jpg", "deep/d.jpg", "deep/link.jpg", "odd[1].jpg"]


@pytest.mark.parametrize("source", ["https://user:pa55word@host/a.jpg", "https://host/a.jpg?token=pa55word"])
def test_errors_do_not_contain_the_password(source: str) -> None:
    with pytest.raises(DataError, match=r"https://host/a\.jpg.*download it first") as raised:
        find_images([source])
    assert "pa55word" not in str(raised.value)


def test_frames_are_in_the_order_of_their_numbers(folder: Path) -> None:
    names = ["1/b.jpg", "2/a1.jpg", "2/a2.jpg", "2/a02.jpg", "2/a10.jpg", "2/a10-2.jpg", "10/a.jpg"]
    for name in names:
        (folder / "n" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "n" / name).touch()
    images = in_number_order(find_images([folder / "n" / "**" / "*.jpg"]))
    assert [str(path.relative_to(folder / "n")) for path in images] == [
        *("1/b.jpg", "2/a1.jpg", "2/a02.jpg", "2/a2.jpg"),
        *("2/a10-2.jpg", "2/a10.jpg", "10/a.jpg"),
    ]


def test_find_images_defaults_to_the_samples() -> None:
    images = find_images()
    assert len(images) >= 2
    credits_page = (SAMPLES / "CREDITS.md").read_text(encoding="utf-8")
    for image in images:
        assert f"`{image.name}`" in credits_page
        assert image.stat().st_size < 200_000
        assert min(ImageSource(image).size()) >= 300


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo", ".pgm", ".pnm"])
def test_every_ending_of_a_readable_format_is_an_image(suffix: str, tmp_path: Path) -> None:
    kind = "PPM" if suffix in (".pgm", ".pnm") else "JPEG"
    Image.new("RGB", (8, 6)).save(tmp_path / f"a{suffix}", kind)
    (tmp_path / "._a.jpg").write_bytes(b"macOS")
    (path,) = find_images([tmp_path])
    assert ImageSource(path).size() == (6, 8)


def test_images_of_formats_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.avif", "c.HEIC", "d.heic", "e.txt"):
        (tmp_path / name).write_bytes(b"")
    assert skipped_images([tmp_path, tmp_path / "a.jpg"]) == {".heic": 2, ".avif": 1}


def test_paths_are_a_sequence_of_little_memory(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", ".jpg"):
        (tmp_path / name).write_bytes(b"")
    images = find_images([tmp_path, tmp_path / "b.jpg"])
    assert list(images) == [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    assert list(images[:1]) == [images[0]] == [tmp_path / "a.jpg"]
    assert images[-1].name == "b.jpg"
    assert len(images) == 2
