"""Panoptic quality (Kirillov et al., CVPR 2019): how well segments are found and drawn, in one figure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blitznet.postprocess.instances import Mask, Panoptic, SegmentInfo

Numbers = NDArray[np.float64]
"""(K,)"""
_ENOUGH = 0.5
"""a segment and a true one match when they overlap by more; then no other can"""
_BITS = 16
"""of an id"""


@dataclass(frozen=True, slots=True, eq=False)
class PanopticQuality:
    """By class, not a number where a class neither occurs nor was found."""

    pq: Numbers
    """(K,) overlap of the matched over matched + half of those missed + half of those invented"""
    sq: Numbers
    """(K,) mean overlap of the matched, SQ"""
    rq: Numbers
    """(K,) F1 of the segments, RQ"""

    @property
    def mean(self) -> float | None:
        """Mean quality over the classes that occur or were found; None if none does."""
        return None if np.isnan(self.pq).all() else float(np.nanmean(self.pq))


@dataclass(eq=False)
class PanopticCounts:
    """Sums over images, of which the quality is made."""

    classes: int
    overlap: Numbers = field(init=False)
    matched: Numbers = field(init=False)
    false_positives: Numbers = field(init=False)
    false_negatives: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.overlap, self.matched, self.false_positives, self.false_negatives = np.zeros((4, self.classes))

    def add(self, found: Panoptic, truth: Panoptic, void: Mask) -> None:
        """One image: what was found, the truth, and pixels (H, W) that count for nothing.

        A found segment that lies in void by more than half is neither right nor wrong.
        """
        areas, true_areas = _areas(found, ~void), _areas(truth, ~void)
        right, seen = set(), set()
        for guess, thing, overlap in _matches(found, truth, ~void):
            self.overlap[thing.label] += overlap
            self.matched[thing.label] += 1
            right.add(guess.id)
            seen.add(thing.id)
        for guess in found.segments_info:
            if guess.id not in right and areas[guess.id] * 2 >= guess.area:
                self.false_positives[guess.label] += 1
        for thing in truth.segments_info:
            if thing.id not in seen and true_areas[thing.id]:
                self.false_negatives[thing.label] += 1

    def quality(self) -> PanopticQuality:
        """Of all images so far."""
        with np.errstate(invalid="ignore"):
            finding = self.matched / (self.matched + (self.false_positives + self.false_negatives) / 2)
            drawing = self.overlap / self.matched
        return PanopticQuality(np.where(self.matched > 0, drawing, 0) * finding, drawing, finding)


def _matches(found: Panoptic, truth: Panoptic, counted: Mask) -> Iterator[tuple[SegmentInfo, SegmentInfo, float]]:
    """Found and true segments of one class that overlap enough, and their overlap over the pixels that count."""
    guesses, things = ({segment.id: segment for segment in given.segments_info} for given in (found, truth))
    areas, true_areas = _areas(found, counted), _areas(truth, counted)
    codes = found.segmentation[counted].astype(np.int64) << _BITS | truth.segmentation[counted]
    for code, shared in zip(*(each.tolist() for each in np.unique(codes, return_counts=True)), strict=True):
        guess, thing = guesses.get(code >> _BITS), things.get(code & (1 << _BITS) - 1)
        if guess is not None and thing is not None and guess.label == thing.label:
            overlap = shared / (areas[guess.id] + true_areas[thing.id] - shared)
            if overlap > _ENOUGH:
                yield guess, thing, overlap


def _areas(given: Panoptic, counted: Mask) -> NDArray[np.int64]:
    """Pixels that count, by id."""
    largest = max((segment.id for segment in given.segments_info), default=0)
    return np.bincount(given.segmentation[counted], minlength=largest + 1)
