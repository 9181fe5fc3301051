"""Shards: the images of one part, and the part's name."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from blitznet.bulk.settings import short_hash
from blitznet.bulk.source_files import SourceFile


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive images of a source: several image files, or the images of one tar or Parquet file."""

    index: int
    """position in the source, from 0"""
    files: tuple[SourceFile, ...]
    limit: int | None = None
    """images that are read of a tar or Parquet file; None for all"""

    @property
    def name(self) -> str:
        """The source's first file, for messages."""
        return self.files[0].path


def cut_shards(
    files: Iterable[SourceFile],
    shard_size: int,
    *,
    limit: int | None = None,
    count_images: Callable[[SourceFile], int] | None = None,
) -> Iterator[Shard]:
    """Cut a source into shards.

    Args:
        files: The files of the source; consumed one shard ahead.
        shard_size: Image files of a shard. A tar or Parquet file is a shard of its own.
        limit: Number of images, after which the source ends. Default: all.
        count_images: Counts the images of a tar or Parquet file; needed with `limit`.
    """
    group: list[SourceFile] = []
    index = 0
    remaining = limit
    for file in files:
        if remaining is not None and remaining <= 0:
            break
        if group and (file.is_container or len(group) == shard_size):
            yield Shard(index, tuple(group))
            index, group = index + 1, []
        if not file.is_container:
            group.append(file)
            remaining = None if remaining is None else remaining - 1
            continue
        if remaining is None or count_images is None:
            yield Shard(index, (file,))
        else:
            count = count_images(file)
            yield Shard(index, (file,), remaining if count > remaining else None)
            remaining -= count
        index += 1
    if group:
        yield Shard(index, tuple(group))


def part_name(shard: Shard, run: str) -> str:
    """The file name of a shard's part, such as `part-000012-3b1f0c9a7d52-90c1e6f2a8b4.parquet`.

    Args:
        shard: The shard; its position and a hash of its files' names and versions are in the name.
        run: Hash of the model and the settings, from `run_hash`.
    """
    inputs = short_hash([[file.path, file.version] for file in shard.files], shard.limit)
    return f"part-{shard.index:06d}-{run}-{inputs}.parquet"
