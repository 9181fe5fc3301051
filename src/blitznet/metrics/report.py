"""Report: the scores of an evaluation as values, and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Interval = tuple[float, float]
"""lower and upper end of a 95 % bootstrap interval"""

ALL_SETS = "all sets"
"""title of the scores of several datasets as one"""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Score of one class, a fraction 0..1, and the number of objects or images that it is computed from."""

    score: float
    count: int
    """detection: scored objects; segmentation: images whose class map contains the class"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `score`, `count`."""
        return {"score": self.score, "count": self.count}


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Scores of boxes, fractions 0..1; None if not measured."""

    ap50_11point: float | None = None
    """mean over classes of AP at IoU 0.5, 11 recall levels (VOC2007)"""
    ap50_area: float | None = None
    """mean over classes of AP at IoU 0.5, area under the curve (VOC2010 and later)"""
    ap50_frequent: float | None = None
    """`ap50_area` over the classes with at least 20 scored objects only"""
    coco_ap: float | None = None
    """COCO's AP over IoU 0.5 to 0.95"""
    coco_ap50: float | None = None
    """COCO's AP at IoU 0.5"""
    calibration_error: float | None = None
    """expected calibration error of the scores of detections, from score 0.3 on"""
    per_class: Mapping[str, ClassScore] = field(default_factory=dict)
    """AP50 (area under the curve) of every class that occurs"""
    without_objects: Mapping[str, int] = field(default_factory=dict)
    """detected classes without any annotated box in the sets, and their detections with a score of 0.5 or more"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the names of the attributes."""
        return {
            "ap50_11point": self.ap50_11point,
            "ap50_area": self.ap50_area,
            "ap50_frequent": self.ap50_frequent,
            "coco_ap": self.coco_ap,
            "coco_ap50": self.coco_ap50,
            "calibration_error": self.calibration_error,
            "per_class": {name: score.to_dict() for name, score in self.per_class.items()},
        } | ({"without_objects": dict(self.without_objects)} if self.without_objects else {})


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """Scores of class maps, fractions 0..1; None if not measured."""

    miou: float | None = None
    """mean IoU over the classes that occur in the truth, background included"""
    calibration_error: float | None = None
    """expected calibration error of the confidence of pixels not predicted as background"""
    per_class: Mapping[str, ClassScore] = field(default_factory=dict)
    """IoU of every class that occurs in the truth, "background" first"""
    without_pixels: Mapping[str, float] = field(default_factory=dict)
    """predicted classes without any pixel in the truth, and the fraction of the images' pixels that they cover"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the names of the attributes."""
        return {
            "miou": self.miou,
            "calibration_error": self.calibration_error,
            "per_class": {name: score.to_dict() for name, score in self.per_class.items()},
        } | ({"without_pixels": dict(self.without_pixels)} if self.without_pixels else {})


@dataclass(frozen=True, slots=True)
class SetScores:
    """Scores of one dataset, or of several as one."""

    title: str
    """the set as the user named it, or ALL_SETS"""
    images: int
    """number of images"""
    detection: DetectionScores = DetectionScores()
    segmentation: SegmentationScores = SegmentationScores()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """95 % bootstrap intervals of `ap50_area`, `ap50_frequent` and `miou`, if requested"""

    def __repr__(self) -> str:
        scores = {"ap50_area": self.detection.ap50_area, "miou": self.segmentation.miou}
        texts = [f"{name} {value:.3f}" for name, value in scores.items() if value is not None]
        return f"SetScores({'; '.join([self.title, f'{self.images} images', *texts])})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: `images`, `detection`, `segmentation`, and `intervals` ([low, high]) if any."""
        values: dict[str, Any] = {
            "images": self.images,
            "detection": self.detection.to_dict(),
            "segmentation": self.segmentation.to_dict(),
        }
        if self.intervals:
            values["intervals"] = {name: list(interval) for name, interval in self.intervals.items()}
        return values


@dataclass(frozen=True, slots=True)
class Report:
    """Result of an evaluation: scores of all sets as one, and of each set."""

    total: SetScores
    sets: tuple[SetScores, ...]

    def __repr__(self) -> str:
        return f"Report({repr(self.total).removeprefix('SetScores(')[:-1]})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of `total`; with several sets also `sets`, by title."""
        values = self.total.to_dict()
        if len(self.sets) > 1:
            values["sets"] = {scores.title: scores.to_dict() for scores in self.sets}
        return values
