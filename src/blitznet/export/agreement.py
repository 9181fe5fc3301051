"""Agreement of the Results of two engines, accumulated over images."""

from dataclasses import dataclass, field

import numpy as np

from blitznet.core.arrays import Flags
from blitznet.core.boxes import iou
from blitznet.postprocess.result import Result

MIN_COMPARED_SCORE = 0.1
"""minimum score of detections whose boxes and scores are compared; below it, nearly equal scores change their order"""
MIN_MATCHED_SCORE = 0.3
"""minimum score of detections that should have a match"""
MATCH_IOU = 0.9
"""minimum IoU of a match"""
_PIXEL_UNIT, _SCORE_UNIT = 0.5, 1e-3
"""differences of a box and of a score that count the same in the choice of the nearest detection"""


@dataclass(slots=True)
class Agreement:
    """Differences of pairs of Results; symmetric, since either may have a detection that the other lacks."""

    max_box_difference: float = 0.0
    """largest difference of a box coordinate, pixels of the image"""
    max_score_difference: float = 0.0
    """largest difference of a score"""
    _detections: list[int] = field(default_factory=lambda: [0, 0])
    _matches: list[int] = field(default_factory=lambda: [0, 0])
    _pixels: int = 0
    _equal_pixels: int = 0

    def add(self, a: Result, b: Result) -> None:
        """Add the results of two engines for one image."""
        for index, (result, reference) in enumerate(((a, b), (b, a))):
            box_difference, score_difference = _max_differences(result, reference)
            self.max_box_difference = max(self.max_box_difference, box_difference)
            self.max_score_difference = max(self.max_score_difference, score_difference)
            detections = result.filter(min_score=MIN_MATCHED_SCORE)
            self._detections[index] += len(detections)
            self._matches[index] += int(_has_match(detections, reference).sum())
        if a.class_map is not None and b.class_map is not None:
            self._pixels += a.class_map.size
            self._equal_pixels += int((a.class_map == b.class_map).sum())

    @property
    def matched_detections(self) -> float:
        """Fraction of detections with a match in the other result; the smaller of both directions."""
        return min(_fraction(*counts) for counts in zip(self._matches, self._detections, strict=True))

    @property
    def equal_pixels(self) -> float:
        """Fraction of class-map pixels with the same class."""
        return _fraction(self._equal_pixels, self._pixels)


def _fraction(count: int, total: int) -> float:
    return count / total if total else 1.0


def _has_match(detections: Result, reference: Result) -> Flags:
    """For each detection (N,), whether the reference has one of its class with nearly the same box, of any score."""
    differences = np.abs(detections.boxes[:, None] - reference.boxes[None]).max(-1)  # (N, M)
    # A box without an area has IoU 0 even with itself, so a small difference also counts.
    near = (iou(detections.boxes, reference.boxes) >= MATCH_IOU) | (differences <= _PIXEL_UNIT)
    return np.asarray((near & (detections.labels[:, None] == reference.labels[None])).any(1))


def _max_differences(result: Result, reference: Result) -> tuple[float, float]:
    """Largest difference in pixels and in score, of each detection to the nearest one of the reference."""
    pixels, scores = 0.0, 0.0
    for box, score, label in zip(result.boxes, result.scores, result.labels, strict=True):
        if score < MIN_COMPARED_SCORE:
            break  # scores are descending
        same = reference.labels == label
        if not same.any():
            return np.inf, np.inf
        box_differences = np.abs(reference.boxes[same] - box).max(1)  # (n,)
        score_differences = np.abs(reference.scores[same] - score)  # (n,)
        nearest = np.maximum(box_differences / _PIXEL_UNIT, score_differences / _SCORE_UNIT).argmin()
        pixels = max(pixels, float(box_differences[nearest]))
        scores = max(scores, float(score_differences[nearest]))
    return pixels, scores
