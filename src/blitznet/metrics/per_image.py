"""Scores of single images, which the evaluation report sorts by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import miou, voc_ap
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.confusion import CONFUSION_MIN_SCORE
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE
from blitznet.metrics.nanmath import mean, ratio
from blitznet.metrics.state import EvaluationState


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """Scores of every image, fractions 0..1; nan if not measured."""

    f1: Float64Array
    """(N,) F1 score of the boxes"""
    miou: Float64Array
    """(N,) mean IoU over the classes in the annotated class map"""

    @property
    def overall(self) -> Float64Array:
        """(N,) mean of the measured scores."""
        return mean(np.stack([self.f1, self.miou], -1))


def image_scores(state: EvaluationState, min_score: float = CONFUSION_MIN_SCORE) -> ImageScores:
    """Scores of every image.

    An image without objects and without detections has no F1 score.

    Args:
        state: State of a set.
        min_score: Minimum score of the detections.
    """
    match = voc_ap.match_by_rule(state.predictions, state.objects, state.rule)
    counted = (match != IGNORED) & (state.predictions.score >= np.float32(min_score))

    def count(image: Int64Array, keep: NDArray[np.bool_]) -> Int64Array:
        return np.bincount(image[keep], minlength=state.num_images)

    true_positives = count(state.predictions.image, counted & (match == TRUE_POSITIVE))  # (N,)
    detections = count(state.predictions.image, counted)
    objects = count(state.objects.image, ~state.objects.ignored)
    image_miou = np.full(state.num_images, np.nan)
    image_miou[state.mask_images] = mean(miou.class_iou(state.confusions))
    return ImageScores(f1=ratio(2 * true_positives, detections + objects), miou=image_miou)


def worst_images(scores: ImageScores, count: int) -> list[int]:
    """Numbers of at most `count` images with an overall score below 1, the lowest first."""
    order = np.argsort(scores.overall, kind="stable")  # nan is last
    return [int(image) for image in order[:count] if scores.overall[image] < 1]
