"""Small sources of images for bulk prediction, and what its parts contain."""

import io
import os
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from blitznet.api import load
from blitznet.bulk.predict import PartJob
from blitznet.bulk.progress import ProgressMeter
from blitznet.bulk.run import BulkSource, BulkSummary, local_runner, run_bulk
from blitznet.bulk.settings import BulkSettings, ModelIdentity
from blitznet.bulk.shards import Shard
from blitznet.core.arrays import RGBArray
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec
from blitznet.runtime.engine import Engine
from blitznet.runtime.predictor import Predictor
from support.fake_engines import SPEC, FakeEngine, random_outputs
from support.images import encode_random_image

MODEL = ModelIdentity("small", "ab" * 32, SPEC.classes)


def write_images(folder: Path, count: int, *, subfolders: Sequence[str] = ("",)) -> list[str]:
    """Write random PNG files, in turns into the subfolders; returns their paths."""
    paths = []
    for number in range(count):
        path = folder / subfolders[number % len(subfolders)] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_random_image(number))
        paths.append(str(path))
    return paths


def write_tar(path: Path, members: Mapping[str, bytes], *, mode: str = "w") -> bytes:
    """Write a tar file; returns its bytes."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.read_bytes()


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a Parquet file of columns."""
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)


def fake_predictor() -> Predictor:
    """A predictor without a network."""
    return Predictor(FakeEngine(random_outputs()))


def run_fake(
    folder: Path | str,
    *sources: Path | str,
    shard_size: int = 4,
    limit: int | None = None,
    settings: BulkSettings | None = None,
    model: ModelIdentity = MODEL,
    overwrite: bool = False,
    retry_errors: bool = False,
) -> BulkSummary:
    """A run in this process with a predictor that has no network."""
    job = PartJob(model, settings or BulkSettings(), str(folder))
    meter = ProgressMeter()
    return run_bulk(
        BulkSource(tuple(map(str, sources)), shard_size, limit),
        job,
        local_runner(job, fake_predictor(), meter),
        meter,
        overwrite=overwrite,
        retry_errors=retry_errors,
    )


def parts(folder: Path) -> list[Path]:
    """The parts in a folder, in order."""
    return sorted(folder.glob("part-*.parquet"))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all parts in a folder, in order."""
    return [row for path in parts(folder) for row in pyarrow.parquet.ParquetFile(path).read().to_pylist()]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of change of each file in a folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def stop_after(shards: Iterator[Shard], count: int) -> Iterator[Shard]:
    """The first shards; then the error of a run that is interrupted."""
    for number, shard in enumerate(shards):
        if number == count:
            raise KeyboardInterrupt
        yield shard


class SlowEngine:
    """An engine that takes a time for each batch, so that a run can be killed on its way."""

    name = "slow"

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine, self._seconds = engine, seconds

    @property
    def spec(self) -> Spec:
        """That of the engine."""
        return self._engine.spec

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """The engine's outputs, later."""
        time.sleep(self._seconds)
        return self._engine.run(images)


def load_slow(seconds: float, path: Path) -> Predictor:
    """Load a model that takes `seconds` for each image."""
    return Predictor(SlowEngine(load(path, engine="onnxruntime", threads=1).engine, seconds))


def end_process(path: Path) -> Predictor:
    """End the process in place of loading a model."""
    os._exit(3)
