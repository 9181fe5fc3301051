from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blitznet.bulk.settings import BulkSettings, ModelIdentity, run_hash
from blitznet.bulk.shards import Shard, cut_shards, part_name
from blitznet.bulk.source_files import FileKind, SourceFile
from blitznet.bulk.store import PART
from blitznet.core.errors import UsageError

KINDS: tuple[FileKind, ...] = ("image", "tar", "parquet")
MODEL = ModelIdentity("small", "0" * 64, ("cat",))


def files(*kinds: FileKind) -> list[SourceFile]:
    return [SourceFile(f"{number}.{kind}", "1-2", kind) for number, kind in enumerate(kinds)]


@given(st.lists(st.sampled_from(KINDS), max_size=30), st.integers(1, 7))
def test_every_file_is_in_one_shard_in_order(kinds: list[FileKind], size: int) -> None:
    source = files(*kinds)
    shards = list(cut_shards(source, size))
    assert [file for shard in shards for file in shard.files] == source
    assert [shard.index for shard in shards] == list(range(len(shards)))
    for shard in shards:
        assert len(shard.files) == 1 if shard.files[0].is_container else len(shard.files) <= size
        assert len({file.is_container for file in shard.files}) == 1


@given(st.lists(st.sampled_from(KINDS), max_size=20), st.integers(1, 5), st.integers(1, 30))
def test_a_limit_ends_the_source_after_so_many_images(kinds: list[FileKind], size: int, limit: int) -> None:
    images = {"image": 1, "tar": 4, "parquet": 3}
    shards = list(cut_shards(files(*kinds), size, limit=limit, count_images=lambda file: images[file.kind]))
    total = sum(min(images[file.kind], shard.limit or 99) for shard in shards for file in shard.files)
    assert total == min(limit, sum(images[kind] for kind in kinds))


def test_files_are_taken_one_shard_ahead() -> None:
    taken: list[SourceFile] = []

    def endless() -> Iterator[SourceFile]:
        number = 0
        while True:
            taken.append(SourceFile(str(number), "", "image"))
            yield taken[-1]
            number += 1

    shards = cut_shards(endless(), 5)
    next(shards)
    assert len(taken) == 6


def test_the_name_of_a_part_is_made_from_inputs_model_and_settings() -> None:
    shard = Shard(3, tuple(files("image", "image")))
    settings = BulkSettings()
    name = part_name(shard, run_hash(MODEL, settings))
    assert PART.fullmatch(name)
    assert name.startswith("part-000003-")
    assert name == part_name(Shard(3, tuple(files("image", "image"))), run_hash(MODEL, BulkSettings()))
    renamed = replace(shard, files=(replace(shard.files[0], path="x"), shard.files[1]))
    changed = replace(shard, files=(replace(shard.files[0], version="9"), shard.files[1]))
    others = [
        part_name(renamed, run_hash(MODEL, settings)),
        part_name(changed, run_hash(MODEL, settings)),
        part_name(replace(shard, limit=1), run_hash(MODEL, settings)),
        part_name(shard, run_hash(replace(MODEL, sha256="1" * 64), settings)),
        part_name(shard, run_hash(MODEL, replace(settings, min_score=0.3))),
        part_name(shard, run_hash(MODEL, replace(settings, masks="none"))),
        part_name(shard, run_hash(MODEL, replace(settings, engine="onnxruntime"))),
        part_name(shard, run_hash(MODEL, replace(settings, tta="flip"))),
        part_name(shard, run_hash(MODEL, replace(settings, slices=(1, 2)))),
    ]
    assert len({name, *others}) == len(others) + 1


def test_the_name_of_the_model_is_not_part_of_it() -> None:
    """The same file under another name gives the same rows."""
    assert run_hash(replace(MODEL, name="copy"), BulkSettings()) == run_hash(MODEL, BulkSettings())


@pytest.mark.parametrize(("settings", "message"), [({"min_score": 2}, "min_score"), ({"masks": "png"}, "masks")])
def test_invalid_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BulkSettings(**settings)  # type: ignore[arg-type]
