"""A run of bulk prediction: which parts are missing, who computes them, and the manifest of all parts."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from blitznet.bulk.images import count_images
from blitznet.bulk.parquet import PartSummary, read_summary, require_pyarrow
from blitznet.bulk.predict import PartJob, require_mask_encoder, write_part
from blitznet.bulk.progress import ProgressMeter
from blitznet.bulk.settings import run_hash
from blitznet.bulk.shards import Shard, cut_shards
from blitznet.bulk.source_files import SourceFile, find_files
from blitznet.bulk.store import MANIFEST, PART, PartStore
from blitznet.core.errors import DataError, UsageError
from blitznet.runtime.predictor import BasePredictor

Finished = tuple[Shard, PartSummary]
Runner = Callable[[Iterator[Shard]], Iterator[Finished]]
"""computes the parts of shards, in any order"""

SHARD_SIZE = 1000
"""default number of image files in a shard"""


@dataclass(frozen=True, slots=True)
class BulkSource:
    """The images of a run, and how they are cut into parts."""

    sources: tuple[str, ...]
    """files, folders, lists, globs and URLs"""
    shard_size: int = SHARD_SIZE
    """image files in each part; a tar or Parquet file is one part"""
    limit: int | None = None
    """number of images; None for all"""

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("expected an image, a folder, a list or a URL, got nothing")
        if self.shard_size < 1:
            raise UsageError(f"shard_size: expected 1 or more, got {self.shard_size}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit: expected 1 or more, got {self.limit}")

    def files(self, folder: str) -> Iterator[SourceFile]:
        """The files of the source, without those in the output folder."""
        return find_files(self.sources, excluded=folder)


@dataclass(frozen=True, slots=True)
class BulkSummary:
    """What a run did."""

    parts: int
    """parts of the source"""
    images: int
    """images in these parts"""
    errors: int
    """images among them that cannot be read"""
    predicted: int
    """images that this run predicted"""


def run_bulk(
    source: BulkSource,
    job: PartJob,
    runner: Runner,
    meter: ProgressMeter,
    *,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> BulkSummary:
    """Write the parts of a source that do not exist yet, and the manifest.

    Args:
        source: The images.
        job: The model, settings and output folder.
        runner: Computes parts: `local_runner`, or one of a cluster.
        meter: Reports progress.
        overwrite: Replace parts of other images, another model or other settings.
        retry_errors: Predict parts again that contain errors.

    Raises:
        UsageError: The folder contains parts of another run, is in use, or cannot be written.
        DataError: A source cannot be read.
        MissingExtra: A package is not installed.
    """
    require_pyarrow()
    require_mask_encoder(job.settings)
    store = PartStore(job.folder)
    with store.locked():
        store.delete_leftovers()
        parts = _Parts(store, job, overwrite=overwrite, retry_errors=retry_errors)
        parts.require_same_run()
        _require_own_manifest(store, overwrite=overwrite)
        meter.count(source.files(job.folder))
        for shard, summary in runner(_missing(source, job, parts, meter)):
            parts.add(shard, summary, is_new=True)
            meter.add_part(summary.images, is_container=shard.files[0].is_container, is_new=True)
        if not parts.finished:
            raise DataError(f"{', '.join(source.sources)}: expected images, tar or Parquet files, got none")
        parts.require_no_others(is_complete=source.limit is None)
        _write_manifest(store, source, job, parts)
    return parts.summary()


def local_runner(job: PartJob, predictor: BasePredictor, meter: ProgressMeter) -> Runner:
    """A runner in this process: one part after the other, with a replica of the network on each processor."""

    def run(shards: Iterator[Shard]) -> Iterator[Finished]:
        for shard in shards:
            yield shard, write_part(shard, job, predictor, meter.update)

    return run


def _missing(source: BulkSource, job: PartJob, parts: "_Parts", meter: ProgressMeter) -> Iterator[Shard]:
    """The shards whose parts do not exist."""
    shards = cut_shards(
        source.files(job.folder),
        source.shard_size,
        limit=source.limit,
        count_images=lambda file: count_images(file, job.settings),
    )
    for shard in shards:
        summary = parts.find(shard)
        if summary is None:
            yield shard
        else:
            parts.add(shard, summary, is_new=False)
            meter.add_part(summary.images, is_container=shard.files[0].is_container, is_new=False)


@dataclass
class _Parts:
    """The parts in the output folder: those that were there, and those of this run."""

    store: PartStore
    job: PartJob
    overwrite: bool
    retry_errors: bool
    finished: dict[int, PartSummary] = field(default_factory=dict)
    predicted: int = 0
    _names: dict[int, set[str]] = field(default_factory=dict)
    """parts that existed at the start, by index"""

    def __post_init__(self) -> None:
        for name in self.store.names():
            if match := PART.fullmatch(name):
                self._names.setdefault(int(match["index"]), set()).add(name)

    def require_same_run(self) -> None:
        """Raise a UsageError if a part is of another model or other settings, and may not be replaced."""
        run = run_hash(self.job.model, self.job.settings)
        names = (name for names in self._names.values() for name in names)
        foreign = next((name for name in sorted(names) if (m := PART.fullmatch(name)) and m["run"] != run), None)
        if foreign is not None and not self.overwrite:
            raise UsageError(
                f"{self.job.folder}: expected parts of this model and these settings, got {foreign} of others; "
                "choose another folder, or replace the parts with --overwrite"
            )

    def find(self, shard: Shard) -> PartSummary | None:
        """The whole part of a shard; None if there is none.

        Raises:
            UsageError: There is a part of other images in its place, and it may not be replaced.
        """
        name = self.job.part_name(shard)
        names = self._names.get(shard.index, set())
        if name in names:
            summary = self._read(name)
            return None if summary is None or (summary.errors and self.retry_errors) else summary
        if not self.overwrite:
            for existing in names:
                summary = self._read(existing)
                if summary is not None and summary.first != shard.name:
                    raise UsageError(
                        f"{self.job.folder}: expected a part that begins with {shard.name}, got {existing} with "
                        f"{summary.first}; choose another folder, or replace the part with --overwrite"
                    )
        return None

    def add(self, shard: Shard, summary: PartSummary, *, is_new: bool) -> None:
        """Take note of a part, and delete those that it replaces."""
        self.finished[shard.index] = summary
        self.predicted += summary.images * is_new
        for name in self._names.pop(shard.index, set()) - {summary.name}:
            self.store.delete(name)

    def require_no_others(self, *, is_complete: bool) -> None:
        """Delete the parts that the source has no images for, or raise a UsageError if they may not be deleted.

        Args:
            is_complete: Whether the run reached the end of the source. Otherwise later parts of the same model and
                settings are left alone.
        """
        run = run_hash(self.job.model, self.job.settings)
        names = (name for names in self._names.values() for name in names)
        others = sorted(name for name in names if is_complete or f"-{run}-" not in name)
        if others and not self.overwrite:
            raise UsageError(
                f"{self.job.folder}: expected {len(self.finished)} parts, got {others[0]} of images that are not in "
                "the source any more; choose another folder, or delete such parts with --overwrite"
            )
        for name in others:
            self.store.delete(name)

    def summary(self) -> BulkSummary:
        """The totals of the run."""
        parts = self.finished.values()
        return BulkSummary(
            len(parts), sum(part.images for part in parts), sum(part.errors for part in parts), self.predicted
        )

    def _read(self, name: str) -> PartSummary | None:
        with self.store.opened(name) as file:
            return read_summary(file, name)


def _write_manifest(store: PartStore, source: BulkSource, job: PartJob, parts: _Parts) -> None:
    """Write the list of parts, if it changed."""
    ordered = [parts.finished[index] for index in sorted(parts.finished)]
    totals = asdict(parts.summary())
    del totals["predicted"]
    content: dict[str, Any] = {
        "format": "blitznet batch",
        "sources": source.sources,
        "limit": source.limit,
        "model": asdict(job.model),
        "settings": asdict(job.settings),
        **{name: totals[name] for name in ("images", "errors")},
        "parts": [{"name": part.name, "images": part.images, "errors": part.errors} for part in ordered],
    }
    text = (json.dumps(content, indent=1) + "\n").encode()
    if _read_manifest(store) != text:
        with store.writing(MANIFEST) as path:
            path.write_bytes(text)


def _require_own_manifest(store: PartStore, *, overwrite: bool) -> None:
    existing = _read_manifest(store)
    if existing is not None and not overwrite and not _is_manifest(existing):
        raise UsageError(
            f"{store.folder}/{MANIFEST}: expected a manifest of `blitznet batch`, got another file; choose another "
            "folder, or replace it with --overwrite"
        )


def _read_manifest(store: PartStore) -> bytes | None:
    if MANIFEST not in store.names():
        return None
    with store.opened(MANIFEST) as file:
        return file.read()


def _is_manifest(content: bytes) -> bool:
    try:
        value = json.loads(content)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("format") == "blitznet batch"
