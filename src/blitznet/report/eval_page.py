"""The page of `blitznet eval --html-report`: scores, error analyses and the worst images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.files import atomic_write
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset
from blitznet.drawing.side_by_side import side_by_side
from blitznet.metrics.confusion import CONFUSION_MIN_SCORE
from blitznet.metrics.evaluate import SamplePredictor
from blitznet.metrics.per_image import ImageScores, image_scores, worst_images
from blitznet.metrics.report import Report
from blitznet.metrics.state import EvaluationState, concatenate
from blitznet.report.blocks import Details, HtmlTable, ImagePair, ImagePairs
from blitznet.report.eval_sections import sections
from blitznet.report.eval_tables import render_class_table, render_score_table
from blitznet.report.html import Section, html_page
from blitznet.report.percent import percent

if TYPE_CHECKING:
    from rich.table import Table

MAX_IMAGES = 24
"""images on the page"""
_IMAGE_SIZE = 360
"""length of the longer edge of an image, pixels"""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A completed evaluation: everything that the page shows."""

    report: Report
    states: Sequence[EvaluationState]
    """one for each set"""
    datasets: Sequence[Dataset]
    predict: SamplePredictor
    """predictor or result file that was scored; repeats the prediction for a sample"""
    engine: str = ""
    """description of the engine; empty for a result file"""


def write_eval_page(path: Path, title: str, evaluation: Evaluation, progress: Progress = no_progress) -> None:
    """Write the page.

    Args:
        path: HTML file to write.
        title: Name of the model or result file.
        evaluation: Scores and states.
        progress: Called after each drawn image.

    Raises:
        UsageError: The file cannot be written.
    """
    whole = concatenate(evaluation.states)
    report = evaluation.report
    scores, classes = _html_table(render_score_table(report)), _html_table(render_class_table(report.total))
    all_sections = [
        Section("Scores", "", [scores, Details("Class by class", classes)]),
        *sections(whole),
        _worst_images(whole, evaluation, progress),
    ]
    several = "; the sections after the scores treat all sets as one" if len(evaluation.datasets) > 1 else ""
    facts = (evaluation.engine, f"rule: {whole.rule}", f"{whole.num_images} images{several}")
    page = html_page(title, " · ".join(fact for fact in facts if fact), all_sections)
    atomic_write(path, page.encode("utf-8", "replace"))


def _html_table(table: "Table") -> HtmlTable:
    """A terminal table for the page."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    header = tuple(str(column.header) for column in table.columns)
    return HtmlTable(header, list(zip(*columns, strict=True)), str(table.caption or ""))


def _worst_images(whole: EvaluationState, evaluation: Evaluation, progress: Progress) -> Section:
    scores = image_scores(whole)
    images, pairs = worst_images(scores, MAX_IMAGES), []
    for done, image in enumerate(images, 1):
        pairs.append(_image_pair(image, scores, evaluation))
        progress("drawn images", done, len(images))
    if not pairs:
        return Section("The worst images", "None of the scored images has an error.", [])
    note = (
        "Sorted by the mean of two scores, or the one that was measured: F1 of the boxes with a score of at least "
        f"{CONFUSION_MIN_SCORE} (overlap 0.5), and mean IoU over the classes in the image. Ground truth first, "
        "then the prediction."
    )
    return Section("The worst images", note, [ImagePairs(pairs)])


def _image_pair(image: int, scores: ImageScores, evaluation: Evaluation) -> ImagePair:
    """Predict one image again and draw it; results are not kept during scoring."""
    offsets = np.cumsum([0, *(state.num_images for state in evaluation.states)])
    index = int(np.searchsorted(offsets, image, "right")) - 1
    dataset = evaluation.datasets[index]
    sample = dataset[image - int(offsets[index])]
    name = f"{dataset.title} {sample.id}" if len(evaluation.datasets) > 1 else sample.id
    note = f"F1 {percent(scores.f1[image])}, mean IoU {percent(scores.miou[image])}"
    try:
        result = evaluation.predict(dataset.title, sample).filter(min_score=CONFUSION_MIN_SCORE)
        return ImagePair(name, note, side_by_side(sample, result, _IMAGE_SIZE))
    except DataError as error:
        return ImagePair(name, f"{note}; {error}", None)
