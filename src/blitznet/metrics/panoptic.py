"""Panoptic quality (Kirillov et al., CVPR 2019): segmentation and recognition of segments in one metric."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.postprocess.instances import Mask, Panoptic, SegmentInfo

_MIN_IOU = 0.5
"""IoU above which two segments match; a segment then has at most one match"""
_ID_BITS = 16
"""bits of a segment id"""


@dataclass(frozen=True, slots=True, eq=False)
class PanopticQuality:
    """PQ, SQ and RQ by class; nan for a class that neither occurs nor is predicted."""

    pq: Float64Array
    """(K,) panoptic quality: SQ * RQ"""
    sq: Float64Array
    """(K,) segmentation quality: mean IoU of the matched segments"""
    rq: Float64Array
    """(K,) recognition quality: F1 score of the segments"""

    @property
    def mean(self) -> float | None:
        """Mean PQ over the classes that occur or are predicted; None without any."""
        return None if np.isnan(self.pq).all() else float(np.nanmean(self.pq))


@dataclass(eq=False)
class PanopticCounts:
    """Sums over images from which the panoptic quality is computed."""

    num_classes: int
    """K"""
    iou: Float64Array = field(init=False)
    """(K,) sum of the IoU of matched segments"""
    true_positives: Float64Array = field(init=False)
    false_positives: Float64Array = field(init=False)
    false_negatives: Float64Array = field(init=False)

    def __post_init__(self) -> None:
        self.iou, self.true_positives, self.false_positives, self.false_negatives = np.zeros((4, self.num_classes))

    def update(self, predicted: Panoptic, truth: Panoptic, void: Mask) -> None:
        """Add one image.

        An unmatched predicted segment with more than half of its area in void pixels is ignored.

        Args:
            predicted: The prediction.
            truth: The annotation.
            void: (H, W) pixels to ignore.
        """
        areas, true_areas = _areas(predicted, ~void), _areas(truth, ~void)
        matched, matched_truth = set(), set()
        for segment, target, iou in _matches(predicted, truth, ~void):
            self.iou[target.label] += iou
            self.true_positives[target.label] += 1
            matched.add(segment.id)
            matched_truth.add(target.id)
        for segment in predicted.segments_info:
            if segment.id not in matched and areas[segment.id] * 2 >= segment.area:
                self.false_positives[segment.label] += 1
        for target in truth.segments_info:
            if target.id not in matched_truth and true_areas[target.id]:
                self.false_negatives[target.label] += 1

    def compute(self) -> PanopticQuality:
        """Panoptic quality of all images so far."""
        with np.errstate(invalid="ignore"):
            rq = self.true_positives / (self.true_positives + (self.false_positives + self.false_negatives) / 2)
            sq = self.iou / self.true_positives
        return PanopticQuality(pq=np.where(self.true_positives > 0, sq, 0) * rq, sq=sq, rq=rq)


def _matches(predicted: Panoptic, truth: Panoptic, valid: Mask) -> Iterator[tuple[SegmentInfo, SegmentInfo, float]]:
    """Matched segments of one class, predicted and true, and their IoU over the valid pixels (H, W)."""
    segments, targets = ({segment.id: segment for segment in each.segments_info} for each in (predicted, truth))
    areas, true_areas = _areas(predicted, valid), _areas(truth, valid)
    codes = predicted.segmentation[valid].astype(np.int64) << _ID_BITS | truth.segmentation[valid]
    for code, intersection in zip(*(each.tolist() for each in np.unique(codes, return_counts=True)), strict=True):
        segment, target = segments.get(code >> _ID_BITS), targets.get(code & (1 << _ID_BITS) - 1)
        if segment is not None and target is not None and segment.label == target.label:
            iou = intersection / (areas[segment.id] + true_areas[target.id] - intersection)
            if iou > _MIN_IOU:
                yield segment, target, iou


def _areas(panoptic: Panoptic, valid: Mask) -> Int64Array:
    """Valid pixels by segment id."""
    largest = max((segment.id for segment in panoptic.segments_info), default=0)
    return np.bincount(panoptic.segmentation[valid], minlength=largest + 1)
