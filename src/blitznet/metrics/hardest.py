"""How well single photos came out, to look at the worst."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics import miou, voc_ap
from blitznet.metrics.confusion import CONFIDENT
from blitznet.metrics.evidence import Evidence
from blitznet.metrics.means import mean, ratio
from blitznet.metrics.pairing import IGNORED, RIGHT, Numbers, Reals


@dataclass(frozen=True, slots=True, eq=False)
class PhotoScores:
    """What each photo scored, fractions 0..1; nan was not measured."""

    f1: Reals
    """(N,) of its confident boxes: twice the right ones, by boxes and objects together"""
    miou: Reals
    """(N,) mean IoU over the classes that the photo shows"""

    @property
    def overall(self) -> Reals:
        """(N,) the mean of what was measured."""
        return mean(np.stack([self.f1, self.miou], -1))


def photo_scores(evidence: Evidence, score: float = CONFIDENT) -> PhotoScores:
    """The scores of every photo; a photo without objects and without confident boxes has no F1."""
    verdict = voc_ap.verdicts(evidence.found, evidence.objects, evidence.rule)
    shown = (verdict != IGNORED) & (evidence.found.score >= np.float32(score))

    def count(photo: Numbers, which: NDArray[np.bool_]) -> Numbers:
        return np.bincount(photo[which], minlength=evidence.photos)

    right = count(evidence.found.photo, shown & (verdict == RIGHT))  # (N,)
    boxes = count(evidence.found.photo, shown)
    objects = count(evidence.objects.photo, ~evidence.objects.ignored)
    shares = np.full(evidence.photos, np.nan)
    shares[evidence.mapped] = mean(miou.class_iou(evidence.tables))
    return PhotoScores(f1=ratio(2 * right, boxes + objects), miou=shares)


def worst(scores: PhotoScores, count: int) -> list[int]:
    """The numbers of at most so many photos that are not perfect, the lowest overall score first."""
    order = np.argsort(scores.overall, kind="stable")  # nan comes last
    return [int(photo) for photo in order[:count] if scores.overall[photo] < 1]
