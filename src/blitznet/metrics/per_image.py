"""How well single images came out, to look at the worst."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import miou, voc_ap
from blitznet.metrics.confusion import CONFIDENT
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.matching import IGNORED, TRUE_POSITIVE, Numbers, Reals
from blitznet.metrics.nanmath import mean, ratio


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """What each image scored, fractions 0..1; nan was not measured."""

    f1: Reals
    """(N,) of its confident boxes: twice the right ones, by boxes and objects together"""
    miou: Reals
    """(N,) mean IoU over the classes that the image shows"""

    @property
    def overall(self) -> Reals:
        """(N,) the mean of what was measured."""
        return mean(np.stack([self.f1, self.miou], -1))


def image_scores(evidence: EvaluationState, score: float = CONFIDENT) -> ImageScores:
    """The scores of every image; a image without objects and without confident boxes has no F1."""
    verdict = voc_ap.verdicts(evidence.found, evidence.objects, evidence.rule)
    shown = (verdict != IGNORED) & (evidence.found.score >= np.float32(score))

    def count(image: Numbers, which: NDArray[np.bool_]) -> Numbers:
        return np.bincount(image[which], minlength=evidence.images)

    right = count(evidence.found.image, shown & (verdict == TRUE_POSITIVE))  # (N,)
    boxes = count(evidence.found.image, shown)
    objects = count(evidence.objects.image, ~evidence.objects.ignored)
    shares = np.full(evidence.images, np.nan)
    shares[evidence.mapped] = mean(miou.class_iou(evidence.tables))
    return ImageScores(f1=ratio(2 * right, boxes + objects), miou=shares)


def worst(scores: ImageScores, count: int) -> list[int]:
    """The numbers of at most so many images that are not perfect, the lowest overall score first."""
    order = np.argsort(scores.overall, kind="stable")  # nan comes last
    return [int(image) for image in order[:count] if scores.overall[image] < 1]
