"""The page of `blitznet eval --report`: what was scored, and where it went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.files import atomic_write
from blitznet.drawing.side_by_side import side_by_side
from blitznet.metrics.confusion import CONFUSION_MIN_SCORE
from blitznet.metrics.evaluate import SamplePredictor, Dataset, Watch
from blitznet.metrics.state import EvaluationState, concatenate
from blitznet.metrics.per_image import ImageScores, image_scores, worst_images
from blitznet.metrics.report import Report
from blitznet.report.blocks import Details, HtmlTable, ImagePair, ImagePairs
from blitznet.report.eval_sections import percent, sections
from blitznet.report.html import Section, html_page

if TYPE_CHECKING:
    from rich.table import Table

MAX_IMAGES, IMAGE_SIDE = 24, 360
"""images on the page at most, and the length of their longer side in pixels"""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What scoring leaves behind: the figures, what they were made of, and how to see a prediction again."""

    report: Report
    states: Sequence[EvaluationState]
    """of every set"""
    datasets: Sequence[Dataset]
    predict: SamplePredictor
    engine: str = ""
    """what ran, in words; nothing did for a result file"""


def write_eval_page(path: Path, title: str, scored: Evaluation, tables: "Sequence[Table]", watch: Watch) -> None:
    """Write the page; the tables, scores and then classes, are the terminal's. Raises UsageError if it cannot be."""
    whole = concatenate(scored.states)
    scores, classes = (_plain(table) for table in tables)
    shown = [
        Section("Scores", "", [scores, Details("Class by class", classes)]),
        *sections(whole),
        _worst(whole, scored, watch),
    ]
    several = "; below the scores all sets are taken as one" if len(scored.datasets) > 1 else ""
    facts = (scored.engine, f"rule: {whole.rule}", f"{whole.num_images} images{several}")
    atomic_write(path, html_page(title, " · ".join(fact for fact in facts if fact), shown).encode("utf-8", "replace"))


def _plain(table: "Table") -> HtmlTable:
    """A table of the terminal for the page."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    head = tuple(str(column.header) for column in table.columns)
    return HtmlTable(head, list(zip(*columns, strict=True)), str(table.caption or ""))


def _worst(whole: EvaluationState, scored: Evaluation, watch: Watch) -> Section:
    scores = image_scores(whole)
    images, pairs = worst_images(scores, MAX_IMAGES), []
    for done, image in enumerate(images, 1):
        pairs.append(_pair(image, scores, scored))
        watch(done, len(images))
    if not pairs:
        return Section("The worst images", "None of the images that were measured has an error.", [])
    note = (
        f"The lowest mean of two figures, or the one there is: F1 of the boxes with a score of {CONFUSION_MIN_SCORE} and more "
        "(overlap 0.5), and mean IoU over the classes in the image. Truth first, then what was predicted."
    )
    return Section("The worst images", note, [ImagePairs(pairs)])


def _pair(image: int, scores: ImageScores, scored: Evaluation) -> ImagePair:
    """One image, predicted again: results are not kept while scoring."""
    starts = np.cumsum([0, *(part.num_images for part in scored.states)])
    place = int(np.searchsorted(starts, image, "right")) - 1
    dataset = scored.datasets[place]
    sample = dataset[image - int(starts[place])]
    name = f"{dataset.title} {sample.id}" if len(scored.datasets) > 1 else sample.id
    note = f"F1 {percent(scores.f1[image])}, mean IoU {percent(scores.miou[image])}"
    try:
        result = scored.predict(dataset.title, sample).filter(min_score=CONFUSION_MIN_SCORE)
        return ImagePair(name, note, side_by_side(sample, result, IMAGE_SIDE))
    except DataError as error:
        return ImagePair(name, f"{note}; {error}", None)
