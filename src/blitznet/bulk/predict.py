"""From a shard to its part: the function that a run on one machine and the workers of a cluster share."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blitznet.bulk.images import NamedImage, shard_images
from blitznet.bulk.parquet import PartRow, PartSummary, PartWriter, part_error
from blitznet.bulk.settings import BulkSettings, ModelIdentity, run_hash
from blitznet.bulk.shards import Shard, part_name
from blitznet.bulk.store import PartStore
from blitznet.core.errors import MissingExtra
from blitznet.core.rle import run_lengths
from blitznet.runtime.predictor import BasePredictor
from blitznet.runtime.stream import StreamResult

if TYPE_CHECKING:
    from blitznet.core.arrays import ClassMap
    from blitznet.postprocess.result import Result


@dataclass(frozen=True, slots=True)
class PartJob:
    """All that is needed to compute parts, beside the predictor."""

    model: ModelIdentity
    settings: BulkSettings
    folder: str
    """path or URL of the folder of parts"""

    def part_name(self, shard: Shard) -> str:
        """The name of a shard's part."""
        return part_name(shard, run_hash(self.model, self.settings))

    def metadata(self, shard: Shard) -> dict[str, Any]:
        """What is stored in a part beside its rows."""
        return {"model": asdict(self.model), "settings": asdict(self.settings), "first": shard.name}


def _no_report(images: int) -> None:
    """Ignore the number of images."""


def write_part(
    shard: Shard, job: PartJob, predictor: BasePredictor, report: Callable[[int], None] = _no_report
) -> PartSummary:
    """Predict the images of a shard and write its part.

    Args:
        shard: The images.
        job: The model, settings and output folder.
        predictor: Predicts them; of the job's model.
        report: Called after each image with the number of images so far.

    Returns:
        What the part contains.

    Raises:
        UsageError: The part cannot be written, or a store cannot be reached.
    """
    name = job.part_name(shard)
    with PartStore(job.folder).writing(name) as path:
        writer = PartWriter(path, job.metadata(shard))
        try:
            with closing(predict_rows(shard_images(shard, job.settings), predictor, job.settings)) as rows:
                for row in rows:
                    writer.write(row)
                    report(writer.images)
        except BaseException:
            writer.abort()
            raise
        writer.close()
    return PartSummary(name, writer.images, writer.errors, shard.name)


def predict_rows(
    images: Iterable[NamedImage], predictor: BasePredictor, settings: BulkSettings
) -> Generator[PartRow, None, None]:
    """A row for each image, in order; an image that cannot be read gives a row with its error."""
    in_flight: deque[NamedImage] = deque()

    def contents() -> Iterator[Path | bytes]:
        for image in images:
            in_flight.append(NamedImage(image.id, b"", image.error))
            yield image.content

    stream = predictor.stream(
        contents(), min_score=settings.min_score, class_map=settings.masks != "none", throughput=True
    )
    with closing(stream):
        for item in stream:
            yield _row(in_flight.popleft(), item, settings)


def _row(image: NamedImage, item: StreamResult, settings: BulkSettings) -> PartRow:
    image_id = as_text(image.id)
    if image.error is not None or item.result is None:
        return PartRow(image_id, error=as_text(image.error or part_error(item.error or "", image.id)))
    result = item.result
    runs = masks = None
    if result.class_map is not None:
        runs = run_lengths(result.class_map) if settings.masks == "class-map" else None
        masks = tuple(_coco_masks(result.class_map)) if settings.masks == "coco" else None
    return PartRow(
        image_id,
        result.size,
        result.boxes,
        result.labels,
        result.scores,
        _class_names(result),
        runs,
        masks,
    )


def _class_names(result: "Result") -> tuple[str, ...]:
    return tuple(result.class_names[label] for label in result.labels)


def require_mask_encoder(settings: BulkSettings) -> None:
    """Check that masks can be encoded, before the work starts. Raises MissingExtra."""
    if settings.masks == "coco":
        try:
            import blitznet.integrations.coco  # noqa: F401 - only whether its library is installed
        except ImportError as error:
            raise MissingExtra("--masks coco", "eval") from error


def _coco_masks(class_map: "ClassMap") -> Iterator[tuple[int, str]]:
    """The label and COCO run lengths of each class in a class map."""
    from blitznet.integrations.coco import to_coco_rle

    for value in np.unique(class_map):
        if value > 0:
            yield int(value) - 1, to_coco_rle(class_map == value)["counts"]


def as_text(name: str) -> str:
    r"""A path as text that every reader decodes: bytes that are not UTF-8 are written as `\\x..`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
