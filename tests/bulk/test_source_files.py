from pathlib import Path

import pytest

from blitznet.bulk import source_files
from blitznet.bulk.source_files import SourceFile, find_files
from blitznet.core.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def paths(*sources: Path | str, excluded: str | None = None) -> list[str]:
    return [file.path for file in find_files(map(str, sources), excluded=excluded)]


def test_a_folder_is_searched_with_its_subfolders_in_order(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2.jpg", "b/10.PNG", "a.webp", "c/d/e.tar", "z.parquet", "notes.txt", "._a.jpg", "_common.parquet"
    )
    assert paths(tmp_path) == [
        str(tmp_path / name) for name in ("a.webp", "b/10.PNG", "b/2.jpg", "c/d/e.tar", "z.parquet")
    ]
    kinds = [file.kind for file in find_files([str(tmp_path)])]
    assert kinds == ["image", "image", "image", "tar", "parquet"]


def test_the_output_folder_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "parts/part-000000.parquet")
    monkeypatch.chdir(tmp_path)
    assert paths(".", excluded=str(tmp_path / "parts")) == ["./a.jpg"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert paths(tmp_path) == [str(tmp_path / "a/1.jpg")]


def test_lines_of_a_list_are_relative_to_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "lists/a.jpg", "b.jpg", "c.tar")
    lines = [
        "a.jpg",
        "",
        "../b.jpg",
        str(tmp_path / "c.tar"),
        "https://host/image?id=3",
        "s3://bucket/x.parquet",
        "gone",
    ]
    (tmp_path / "lists" / "all.txt").write_text("\ufeff" + "\r\n".join(lines))
    folder = f"{tmp_path}/lists"
    files = list(find_files([f"{folder}/all.txt"]))
    assert [file.path for file in files] == [
        f"{folder}/a.jpg",
        f"{folder}/../b.jpg",
        f"{tmp_path}/c.tar",
        "https://host/image?id=3",
        "s3://bucket/x.parquet",
        f"{folder}/gone",
    ]
    assert [file.kind for file in files] == ["image", "image", "tar", "image", "parquet", "image"]
    assert files[-1].version == "missing"


def test_a_list_is_read_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "list.txt").write_text("a.jpg\n" * 10_000)
    calls: list[str] = []

    def version(path: str) -> str:
        calls.append(path)
        return "1"

    monkeypatch.setattr(source_files, "_local_version", version)
    files = find_files([str(tmp_path / "list.txt")])
    assert isinstance(next(files), SourceFile)
    assert len(calls) <= 2  # the list itself and its first line


def test_the_version_changes_with_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    before = next(find_files([str(tmp_path / "a.jpg")]))
    (tmp_path / "a.jpg").write_bytes(b"longer")
    after = next(find_files([str(tmp_path / "a.jpg")]))
    assert before.path == after.path
    assert before.version != after.version


def test_globs_match_what_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "x/2.tar", "x/3.md", "y/4.jpg")
    assert paths(f"{tmp_path}/*/[123].*") == [f"{tmp_path}/x/1.jpg", f"{tmp_path}/x/2.tar"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "got an empty name"),
        ("gone", "gone: expected an image, a folder, a list or a glob, got a path that does not exist"),
        ("*.jpg", r"\*.jpg: expected a glob that matches images, tar or Parquet files, got no match"),
        ("a\0b", "embedded null|does not exist"),
    ],
)
def test_a_source_that_does_not_exist_is_an_error(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        paths(source)
