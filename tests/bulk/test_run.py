import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from blitznet.bulk.predict import PartJob
from blitznet.bulk.progress import ProgressMeter
from blitznet.bulk.run import BulkSource, BulkSummary, local_runner, run_bulk
from blitznet.bulk.settings import BulkSettings
from blitznet.bulk.store import MANIFEST, PartStore
from blitznet.core.errors import DataError, MissingExtra, UsageError
from support.bulk import (
    MODEL,
    contents,
    fake_predictor,
    parts,
    read_rows,
    run_fake,
    stop_after,
    write_images,
    write_parquet,
    write_tar,
)
from support.images import encode_random_image


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Ten images in `images`."""
    return write_images(tmp_path / "images", 10)


def ids(folder: Path) -> list[str]:
    return [row["id"] for row in read_rows(folder)]


def test_a_second_run_changes_nothing(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_fake(out, tmp_path / "images") == BulkSummary(3, 10, 0, 10)
    before = contents(out)
    assert run_fake(out, tmp_path / "images") == BulkSummary(3, 10, 0, 0)
    assert contents(out) == before
    assert ids(out) == images


def test_the_manifest_lists_the_parts(images: list[str], tmp_path: Path) -> None:
    Path(images[5]).write_bytes(b"broken")
    out = tmp_path / "out"
    assert run_fake(out, tmp_path / "images") == BulkSummary(3, 10, 1, 10)
    manifest = json.loads((out / MANIFEST).read_text())
    assert [part["name"] for part in manifest["parts"]] == [path.name for path in parts(out)]
    assert [(part["images"], part["errors"]) for part in manifest["parts"]] == [(4, 0), (4, 1), (2, 0)]
    assert (manifest["images"], manifest["errors"]) == (10, 1)
    assert manifest["model"]["sha256"] == MODEL.sha256
    assert manifest["settings"]["min_score"] == 0.5


def test_readers_of_parquet_folders_read_the_parts(images: list[str], tmp_path: Path) -> None:
    run_fake(tmp_path / "out", tmp_path / "images")
    assert pyarrow.parquet.read_table(tmp_path / "out").column("id").to_pylist() == images


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_a_run_that_was_interrupted_continues(finished: int, images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = PartJob(MODEL, BulkSettings(), str(out))
    meter = ProgressMeter()
    whole = local_runner(job, fake_predictor(), meter)
    source = BulkSource((str(tmp_path / "images"),), 4)
    with pytest.raises(KeyboardInterrupt):
        run_bulk(source, job, lambda shards: whole(stop_after(shards, finished)), meter)
    assert len(parts(out)) == finished
    assert MANIFEST not in contents(out)
    assert run_fake(out, tmp_path / "images") == BulkSummary(3, 10, 0, 10 - 4 * finished)
    assert ids(out) == images


def test_an_interrupted_part_leaves_no_file(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = PartJob(MODEL, BulkSettings(), str(out))

    def interrupt(state: object) -> None:
        raise KeyboardInterrupt

    meter = ProgressMeter(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_bulk(BulkSource((str(tmp_path / "images"),)), job, local_runner(job, fake_predictor(), meter), meter)
    assert list(out.iterdir()) == []


def test_leftovers_of_a_killed_run_are_deleted(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    leftover = out / ".part-000001-aaaaaaaaaaaa-bbbbbbbbbbbb.01234567.parquet"
    leftover.write_bytes(b"half")
    mine = out / ".part-mine.parquet"
    mine.write_bytes(b"mine")
    run_fake(out, tmp_path / "images")
    assert not leftover.exists()
    assert mine.read_bytes() == b"mine"


def test_a_damaged_part_is_written_again(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_fake(out, tmp_path / "images")
    whole = parts(out)[1].read_bytes()
    parts(out)[1].write_bytes(whole[:-100])
    assert run_fake(out, tmp_path / "images").predicted == 4
    assert parts(out)[1].read_bytes() == whole


@pytest.mark.parametrize(
    "change", [{"settings": BulkSettings(min_score=0.3)}, {"model": replace(MODEL, sha256="c" * 64)}]
)
def test_parts_of_another_model_or_settings_are_kept(
    change: dict[str, object], images: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_fake(out, tmp_path / "images")
    before = contents(out)
    with pytest.raises(UsageError, match="expected parts of this model and these settings, got part-000000-"):
        run_fake(out, tmp_path / "images", **change)  # type: ignore[arg-type]
    assert contents(out) == before
    assert run_fake(out, tmp_path / "images", overwrite=True, limit=3, **change).images == 3  # type: ignore[arg-type]
    assert not set(contents(out)) & (set(before) - {MANIFEST})
    assert ids(out) == images[:3]


def test_parts_of_other_images_are_kept(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_fake(out, tmp_path / "images")
    write_images(tmp_path / "others", 5)
    before = contents(out)
    with pytest.raises(UsageError, match=r"expected a part that begins with .*others/0000.png, got part-000000-"):
        run_fake(out, tmp_path / "others")
    assert contents(out) == before
    run_fake(out, tmp_path / "others", overwrite=True)
    assert ids(out) == [str(tmp_path / "others" / f"{number:04}.png") for number in range(5)]


def test_a_source_that_grows_changes_only_its_last_parts(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_fake(out, tmp_path / "images")
    before = contents(out)
    (tmp_path / "images" / "0010.png").write_bytes(encode_random_image(10))
    assert run_fake(out, tmp_path / "images") == BulkSummary(3, 11, 0, 3)
    unchanged = {name for name, content in contents(out).items() if before.get(name) == content}
    assert unchanged == {path.name for path in parts(out)[:2]}
    assert ids(out) == [*images, str(tmp_path / "images" / "0010.png")]


def test_images_that_are_gone_are_an_error_until_overwritten(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_fake(out, tmp_path / "images")
    for path in images[4:]:
        Path(path).unlink()
    with pytest.raises(UsageError, match=r"expected 1 parts, got part-000001-.* of images that are not in the source"):
        run_fake(out, tmp_path / "images")
    run_fake(out, tmp_path / "images", overwrite=True)
    assert ids(out) == images[:4]


def test_a_limit_and_then_all(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_fake(out, tmp_path / "images", limit=6) == BulkSummary(2, 6, 0, 6)
    assert ids(out) == images[:6]
    assert run_fake(out, tmp_path / "images") == BulkSummary(3, 10, 0, 6)
    assert ids(out) == images
    assert run_fake(out, tmp_path / "images", limit=8).predicted == 0
    assert ids(out) == images


def test_errors_are_predicted_again_on_request(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = Path(images[1]).read_bytes()
    (tmp_path / "list.txt").write_text("\n".join([*images, "memory://batch-retry/a.png"]))
    assert run_fake(out, tmp_path / "list.txt").errors == 1
    import fsspec

    fsspec.filesystem("memory").pipe_file("/batch-retry/a.png", content)
    assert run_fake(out, tmp_path / "list.txt").errors == 1
    assert run_fake(out, tmp_path / "list.txt", retry_errors=True) == BulkSummary(3, 11, 0, 3)


def test_tar_and_parquet_files_are_parts_of_their_own(images: list[str], tmp_path: Path) -> None:
    source = tmp_path / "mixed"
    write_images(source / "a", 5)
    write_tar(source / "b.tar", {f"{number}.png": encode_random_image(number) for number in range(6)})
    write_parquet(source / "c.parquet", {"image": [encode_random_image(number) for number in range(3)]})
    out = tmp_path / "out"
    assert run_fake(out, source) == BulkSummary(4, 14, 0, 14)
    assert ids(out)[-3:] == [f"{source}/c.parquet#{number}" for number in range(3)]
    assert run_fake(tmp_path / "limited", source, limit=7) == BulkSummary(3, 7, 0, 7)
    assert ids(tmp_path / "limited") == ids(out)[:7]


def test_a_store_in_place_of_folders(images: list[str], tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in images:
        memory.pipe_file(f"/batch-store/images/{Path(path).name}", Path(path).read_bytes())
    source, out = "memory://batch-store/images", "memory://batch-store/out"
    assert run_fake(out, source) == BulkSummary(3, 10, 0, 10)
    before = {name: memory.modified(name) for name in memory.glob("/batch-store/out/*")}
    assert run_fake(out, source) == BulkSummary(3, 10, 0, 0)
    assert {name: memory.modified(name) for name in memory.glob("/batch-store/out/*")} == before
    assert run_fake(out, "memory://batch-store") == BulkSummary(3, 10, 0, 0)  # without the parts inside it
    with pytest.raises(UsageError, match="of others"):
        run_fake(out, source, settings=BulkSettings(masks="none"))
    run_fake(out, source, settings=BulkSettings(masks="none"), overwrite=True)
    copy = tmp_path / "copy"
    memory.get("/batch-store/out", str(copy), recursive=True)
    assert [Path(image).name for image in ids(copy)] == [Path(path).name for path in images]


def test_only_one_run_writes_to_a_folder(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with PartStore(str(out)).locked(), pytest.raises(UsageError, match="no other run writes to"):
        run_fake(out, tmp_path / "images")
    run_fake(out, tmp_path / "images")


def test_a_manifest_of_the_user_is_kept(images: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text("mine")
    with pytest.raises(UsageError, match="expected a manifest of `blitznet batch`, got another file"):
        run_fake(out, tmp_path / "images")
    assert [path.name for path in out.iterdir()] == [MANIFEST]
    run_fake(out, tmp_path / "images", overwrite=True)
    assert json.loads((out / MANIFEST).read_text())["images"] == 10


def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="expected images, tar or Parquet files, got none"):
        run_fake(tmp_path / "out", tmp_path / "images")


def test_a_folder_that_cannot_be_written(images: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(UsageError, match="expected a writable output folder"):
        run_fake(tmp_path / "out", tmp_path / "images")


@pytest.mark.parametrize("values", [{"sources": ()}, {"shard_size": 0}, {"limit": 0}])
def test_invalid_sources(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        BulkSource(**{"sources": ("a",), **values})  # type: ignore[arg-type]


def test_coco_masks_need_the_extra_eval(images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "blitznet.integrations.coco", None)
    with pytest.raises(MissingExtra, match=r"blitznet\[eval\]"):
        run_fake(tmp_path / "out", tmp_path / "images", settings=BulkSettings(masks="coco"))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
