import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from blitznet.bulk.images import NamedImage, count_images, shard_images
from blitznet.bulk.settings import BulkSettings
from blitznet.bulk.shards import Shard
from blitznet.bulk.source_files import find_files
from support.bulk import write_parquet, write_tar

MEMBERS = {
    "0001.jpg": b"first",
    "0001.json": b"{}",
    "0002.PNG": b"second" * 200,
    "deep/0003.webp": b"third",
    "._0003.jpg": b"mac",
}


def read(path: Path, *, limit: int | None = None, settings: BulkSettings | None = None) -> list[NamedImage]:
    return list(shard_images(Shard(0, tuple(find_files([str(path)])), limit), settings or BulkSettings()))


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz")])
def test_the_images_of_a_tar_file(name: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_tar(path, MEMBERS, mode=mode)
    assert [(image.id, image.content, image.error) for image in read(path)] == [
        (f"{path}/0001.jpg", b"first", None),
        (f"{path}/0002.PNG", b"second" * 200, None),
        (f"{path}/deep/0003.webp", b"third", None),
    ]
    assert [image.content for image in read(path, limit=2)] == [b"first", b"second" * 200]
    assert count_images(next(find_files([str(path)])), BulkSettings()) == 3


def cut_in_content(content: bytes) -> bytes:
    return content[: content.index(b"second") + 20]


def cut_after_a_member(content: bytes) -> bytes:
    return content[: content.index(b"0002.PNG")]


def overwritten_header(content: bytes) -> bytes:
    start = content.index(b"0002.PNG")
    return content[:start] + b"?" * 300 + content[start + 300 :]


@pytest.mark.parametrize("damage", [cut_in_content, cut_after_a_member, overwritten_header])
def test_a_damaged_tar_file_gives_its_images_and_an_error(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """tarfile itself takes a damaged header for the end, and would lose the rest without a word."""
    path = tmp_path / "a.tar"
    path.write_bytes(damage(write_tar(path, MEMBERS)))
    first, *_, last = read(path)
    assert first.content == b"first"
    assert last.id == str(path)
    assert last.error is not None
    assert last.error.startswith(f"{path}: tar file is broken or truncated")


def test_what_is_no_tar_file_gives_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"nonsense" * 200)
    assert [image.error is not None for image in read(path)] == [True]


def test_links_and_folders_in_a_tar_file_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("x.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("y.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        image = tarfile.TarInfo("z.jpg")
        image.size = 1
        tar.addfile(image, io.BytesIO(b"z"))
    assert [image.content for image in read(path)] == [b"z"]


def test_the_images_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    cells = [
        {"bytes": b"one", "path": "1.jpg"},
        None,
        {"bytes": None, "path": "3.jpg"},
        {"bytes": b"four", "path": None},
    ]
    write_parquet(path, {"key": ["a", "b", "c", "d"], "mask": [b"m"] * 4, "image": cells})
    assert [(image.id, image.content) for image in read(path)] == [
        (f"{path}#0", b"one"),
        (f"{path}#1", b""),
        (f"{path}#2", b""),
        (f"{path}#3", b"four"),
    ]
    settings = BulkSettings(image_column="mask", id_column="key")
    assert [(image.id, image.content) for image in read(path, limit=2, settings=settings)] == [("a", b"m"), ("b", b"m")]
    assert count_images(next(find_files([str(path)])), BulkSettings()) == 4


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"text": ["a"]}, BulkSettings(), "expected a column 'image' with the bytes of images, got columns text"),
        ({"image": [b"a"]}, BulkSettings(image_column="x"), "expected a column 'x' with the bytes of images"),
        ({"image": [b"a"]}, BulkSettings(id_column="y"), "expected a column 'y', got columns image"),
    ],
)
def test_a_parquet_file_without_the_column_gives_one_error(
    columns: dict[str, list[object]], settings: BulkSettings, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, columns)
    [image] = read(path, settings=settings)
    assert message in str(image.error)


def test_a_broken_parquet_file_gives_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 nonsense PAR1")
    [image] = read(path)
    assert str(image.error).startswith(f"{path}: Parquet file is broken")
    assert count_images(next(find_files([str(path)])), BulkSettings()) == 1


def test_large_binary_columns_are_images_too(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, {"jpg": pyarrow.array([b"a"], pyarrow.large_binary())})
    assert [image.content for image in read(path)] == [b"a"]
