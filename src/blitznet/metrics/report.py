"""Report: the numbers of an evaluation, as JSON and as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Interval = tuple[float, float]
"""ends of a 95 % bootstrap interval"""

_MAPS = ("mIoU", "pixel ECE")
"""columns of class maps; ECE is the expected calibration error"""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """What one class scored, a fraction 0..1, and on how much."""

    score: float
    count: int
    """detection: counted objects; segmentation: images that show the class"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"score": self.score, "count": self.count}


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Average precisions, fractions 0..1; None was not measured."""

    ap50_11point: float | None = None
    ap50_area: float | None = None
    ap50_pooled: float | None = None
    """area rule, mean over the classes with at least 20 counted objects"""
    coco_ap: float | None = None
    coco_ap50: float | None = None
    calibration_error: float | None = None
    """how far scores of 0.3 and more are from the share of right ones, 0..1"""
    per_class: Mapping[str, ClassScore] = field(default_factory=dict)
    """AP50 by the area rule of every class that occurs"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ap50_11point": self.ap50_11point,
            "ap50_area": self.ap50_area,
            "ap50_pooled": self.ap50_pooled,
            "coco_ap": self.coco_ap,
            "coco_ap50": self.coco_ap50,
            "calibration_error": self.calibration_error,
            "per_class": {name: score.to_dict() for name, score in self.per_class.items()},
        }


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """Mean IoU, a fraction 0..1; None was not measured."""

    miou: float | None = None
    calibration_error: float | None = None
    """how far the certainty of pixels painted as a class is from the share of right ones, 0..1"""
    per_class: Mapping[str, ClassScore] = field(default_factory=dict)
    """IoU of every class that occurs in the truth, "background" first"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "miou": self.miou,
            "calibration_error": self.calibration_error,
            "per_class": {name: score.to_dict() for name, score in self.per_class.items()},
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """The numbers of one data set, or of several scored as one."""

    title: str
    images: int
    detection: DetectionScores = DetectionScores()
    segmentation: SegmentationScores = SegmentationScores()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """95 % intervals by the figure's name (ap50_area, ap50_pooled, miou), where they were asked for"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: images, detection, segmentation, and intervals where there are any."""
        values: dict[str, Any] = {
            "images": self.images,
            "detection": self.detection.to_dict(),
            "segmentation": self.segmentation.to_dict(),
        }
        if self.intervals:
            values["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        return values


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation found: all sets scored as one, and each by itself."""

    total: Scores
    sets: tuple[Scores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of the total and, of several sets, each one's under `sets` by its title."""
        values = self.total.to_dict()
        if len(self.sets) > 1:
            values["sets"] = {scores.title: scores.to_dict() for scores in self.sets}
        return values

    def table(self) -> "Table":
        """A table for the terminal, in percent: one row for each set, and one for all as one."""
        from rich.table import Table

        table = Table(caption="percent; ± is half of the 95 % interval" if self.total.intervals else "percent")
        table.add_column("set", overflow="fold")
        for title in ("images", "AP50 area", "AP50 11-point", "AP50 pooled", "COCO AP", "COCO AP50", "box ECE", *_MAPS):
            table.add_column(title, justify="right")
        for scores in self.sets:
            table.add_row(*_row(scores))
        if len(self.sets) > 1:
            table.add_section()
            table.add_row(*_row(self.total), style="bold")
        return table


def _row(scores: Scores) -> list[str]:
    found = scores.detection
    return [
        scores.title,
        str(scores.images),
        _percent(found.ap50_area, scores.intervals.get("ap50_area")),
        _percent(found.ap50_11point),
        _percent(found.ap50_pooled, scores.intervals.get("ap50_pooled")),
        _percent(found.coco_ap),
        _percent(found.coco_ap50),
        _percent(found.calibration_error),
        _percent(scores.segmentation.miou, scores.intervals.get("miou")),
        _percent(scores.segmentation.calibration_error),
    ]


def _percent(value: float | None, ends: Interval | None = None) -> str:
    if value is None:
        return "-"
    spread = f" ±{50 * (ends[1] - ends[0]):.1f}" if ends else ""
    return f"{100 * value:.1f}{spread}"
