"""How alike the Results of two engines are, image by image."""

from dataclasses import dataclass, field

import numpy as np

from blitznet.core.boxes import iou
from blitznet.postprocess.result import Result

FAINT = 0.1
"""differences are measured from this score on: among thousands of fainter ones, equal scores change places"""
CLEAR = 0.3
"""what has at least this score must have its like in the other's"""
SAME_PLACE = 0.9
"""IoU of two boxes that are alike"""
_PIXELS, _SCORE = 0.5, 1e-3
"""differences that weigh the same when the other's most like box is looked for"""


@dataclass(slots=True)
class Agreement:
    """Pairs of Results, counted up; both ways, since either may see what the other does not."""

    pixels: float = 0.0
    """largest difference of a side of a box, in pixels of the image"""
    score: float = 0.0
    """largest difference of a score"""
    _clear: list[int] = field(default_factory=lambda: [0, 0])
    _found: list[int] = field(default_factory=lambda: [0, 0])
    _seen: int = 0
    _alike: int = 0

    def add(self, a: Result, b: Result) -> None:
        """Count in what two engines saw in one image."""
        for way, (one, other) in enumerate(((a, b), (b, a))):
            pixels, score = _difference(one, other)
            self.pixels, self.score = max(self.pixels, pixels), max(self.score, score)
            clear = one.filter(min_score=CLEAR)
            self._clear[way] += len(clear)
            self._found[way] += int(_has_its_like(clear, other).sum())
        if a.class_map is not None and b.class_map is not None:
            self._seen += a.class_map.size
            self._alike += int((a.class_map == b.class_map).sum())

    @property
    def matched(self) -> float:
        """Share of the clear detections that have their like in the other's, the smaller of both ways."""
        return min(_share(*counts) for counts in zip(self._found, self._clear, strict=True))

    @property
    def alike(self) -> float:
        """Share of the class maps' pixels of the same class."""
        return _share(self._alike, self._seen)


def _share(count: int, of: int) -> float:
    return count / of if of else 1.0


def _has_its_like(one: Result, other: Result) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """For each detection (N,) whether the other has one of its class in its place, of whatever score."""
    apart = np.abs(one.boxes[:, None] - other.boxes[None]).max(-1)  # (N, M)
    # a box without an area overlaps nothing, not even itself
    there = (iou(one.boxes, other.boxes) >= SAME_PLACE) | (apart <= _PIXELS)
    return np.asarray((there & (one.labels[:, None] == other.labels[None])).any(1))


def _difference(one: Result, other: Result) -> tuple[float, float]:
    """Largest difference in pixels and in score, each detection against the other's most like it."""
    pixels, score = 0.0, 0.0
    for box, sure, label in zip(one.boxes, one.scores, one.labels, strict=True):
        if sure < FAINT:
            break  # scores fall
        same = other.labels == label
        if not same.any():
            return np.inf, np.inf
        apart, less = np.abs(other.boxes[same] - box).max(1), np.abs(other.scores[same] - sure)  # (n,)
        nearest = np.maximum(apart / _PIXELS, less / _SCORE).argmin()
        pixels, score = max(pixels, float(apart[nearest])), max(score, float(less[nearest]))
    return pixels, score
