"""Error analyses of the page of `blitznet eval --html-report`, each from the state of all sets as one."""

from collections.abc import Iterator

import numpy as np

from blitznet.metrics import voc_ap
from blitznet.metrics.arrays import Int64Array
from blitznet.metrics.bootstrap import unit_weights
from blitznet.metrics.calibration.reliability import reliability
from blitznet.metrics.confusion import CONFUSION_MIN_SCORE, box_confusion
from blitznet.metrics.sizes import AREA_RANGES, ap_by_size
from blitznet.metrics.state import EvaluationState
from blitznet.metrics.tide import ERROR_TYPES, error_impacts
from blitznet.report.blocks import Bar, BarChart, Details, HeatMap, HtmlTable
from blitznet.report.charts import Chart, ChartGrid, HistogramBar, Point
from blitznet.report.html import Section
from blitznet.report.percent import percent

THRESHOLDS = (0.9, 0.7, 0.5, 0.3, 0.1)
"""score thresholds that are marked on the curves"""
_DESCRIPTIONS = {
    "classification": "overlaps an object of another class by at least 0.5",
    "localization": "right class, but an overlap of 0.1 to 0.5",
    "both": "wrong class and an overlap of 0.1 to 0.5",
    "duplicate": "on an object that a box with a higher score matches",
    "background": "an overlap of at most 0.1 with any object",
    "missed": "objects without a matching box, and without one that only has the wrong class or location",
}


def sections(whole: EvaluationState) -> Iterator[Section]:
    """The sections of the tasks that were scored."""
    if whole.has_boxes:
        yield _error_types(whole)
        yield _curves(whole)
        yield _box_confusion(whole)
        yield _sizes(whole)
        yield _reliability(whole)
    if len(whole.confusions):
        yield _pixel_confusion(whole)


def _error_types(whole: EvaluationState) -> Section:
    impacts = error_impacts(whole)
    largest = max(max(impact.dap50 for impact in impacts.values()), 1e-9)
    bars = [
        Bar(
            name,
            (percent(impacts[name].dap50, signed=True), str(impacts[name].count)),
            impacts[name].dap50 / largest,
            _DESCRIPTIONS[name],
        )
        for name in ERROR_TYPES
    ]
    note = (
        "TIDE's six error types (Bolya et al., 2020): count at any score, and dAP50, the points of AP50 (area under "
        "the curve) that fixing this type alone would gain."
    )
    return Section("Error types", note, [BarChart(("error", "dAP50", "count"), bars)])


def _curves(whole: EvaluationState) -> Section:
    weights = unit_weights(whole.num_images)
    labels = voc_ap.classes_with_objects(whole.curves)
    class_ap = {label: float(voc_ap.average_precision(whole.curves[label], weights)[0]) for label in labels}
    charts, rows = [], []
    for label in sorted(labels, key=lambda label: class_ap[label]):
        name, curve, ap50 = whole.class_names[label], whole.curves[label], percent(class_ap[label])
        charts.append(_curve(name, f"AP50 {ap50}, objects: {len(curve.object_image)}", curve, whole.num_images))
        cells = {
            threshold: f"{percent(precision)} / {percent(recall)}"
            for threshold, precision, recall in _operating_points(curve)
        }
        rows.append((name, ap50, *(cells.get(threshold, "-") for threshold in THRESHOLDS)))
    note = (
        "Overlap 0.5, the class with the lowest AP50 first. The area is the interpolated curve. The dots are the score "
        f"thresholds {', '.join(map(str, THRESHOLDS))}."
    )
    header = ("class", "AP50", *(f"score ≥ {threshold}" for threshold in THRESHOLDS))
    table = HtmlTable(header, rows, "precision / recall, percent")
    return Section("Precision and recall", note, [ChartGrid(charts), Details("As a table", table)])


def _curve(name: str, note: str, curve: voc_ap.PrecisionRecallCurve, num_images: int) -> Chart:
    true_positives, precisions, total = curve.points(unit_weights(num_images))
    recalls, interpolated = true_positives[0] / total[0], voc_ap.interpolated_precision(precisions)[0]  # (S,)
    points = [
        Point(
            x=recall,
            y=precision,
            tooltip=f"score ≥ {threshold}: precision {percent(precision)} %, recall {percent(recall)} %",
        )
        for threshold, precision, recall in _operating_points(curve)
    ]
    steps = list(zip(recalls.tolist(), interpolated.tolist(), strict=True))
    return Chart(name, note, "recall", "precision", steps=steps, points=points)


def _operating_points(curve: voc_ap.PrecisionRecallCurve) -> list[tuple[float, float, float]]:
    """Threshold, precision and recall of the detections with at least this score, where there are any."""
    points = []
    for threshold in THRESHOLDS:
        hits = curve.true_positive[curve.score >= np.float32(threshold)]
        if len(hits):
            points.append((threshold, float(hits.mean()), float(hits.sum() / len(curve.object_image))))
    return points


def _box_confusion(whole: EvaluationState) -> Section:
    note = (
        f"Boxes with a score of at least {CONFUSION_MIN_SCORE}. Each object is matched to the box with the highest "
        "score that overlaps it by at least 0.5. Other boxes count as predictions on background, unmatched objects as "
        "predicted background."
    )
    return Section("Confusion of boxes", note, [_heat_map("Boxes", whole.class_names, box_confusion(whole), "boxes")])


def _pixel_confusion(whole: EvaluationState) -> Section:
    note = "All pixels with an annotated class, by true and predicted class."
    matrix = whole.confusions.sum(0, dtype=np.int64)
    return Section("Confusion of pixels", note, [_heat_map("Pixels", whole.class_names, matrix, "pixels")])


def _heat_map(title: str, class_names: tuple[str, ...], matrix: Int64Array, unit: str) -> HeatMap:
    """A heat map without the classes that neither occur nor are predicted."""
    index = np.flatnonzero(matrix.sum(0) + matrix.sum(1))
    names = ("background", *class_names)
    return HeatMap(title, tuple(names[k] for k in index), matrix[np.ix_(index, index)], unit)


def _sizes(whole: EvaluationState) -> Section:
    rows = [
        (name, _range(*AREA_RANGES[name]), str(score.objects), percent(score.ap50))
        for name, score in ap_by_size(whole).items()
    ]
    note = (
        "AP50 (area under the curve) in percent, by COCO's area ranges; objects of other sizes are ignored. An "
        "object's area is its box's."
    )
    return Section("Sizes of objects", note, [HtmlTable(("size", "pixels", "objects", "AP50"), rows)])


def _range(low: float, high: float) -> str:
    if not low:
        return f"up to {high:.0f}"
    return f"at least {low:.0f}" if np.isinf(high) else f"{low:.0f} to {high:.0f}"


def _reliability(whole: EvaluationState) -> Section:
    bins = [(f"{part.low:.1f} to {part.high:.1f}", part) for part in reliability(whole)]
    bars = [
        HistogramBar(
            part.low,
            part.high,
            part.accuracy,
            f"score {name}: {percent(part.accuracy)} % correct, boxes: {part.count}",
        )
        for name, part in bins
    ]
    rows = [(name, str(part.count), percent(part.mean_score), percent(part.accuracy)) for name, part in bins]
    note = "Percentage of correct boxes (overlap 0.5) by score. A calibrated model follows the dashed line."
    chart = Chart("Boxes", "accuracy by score", "score", "accuracy", bars=bars, diagonal=True)
    table = HtmlTable(("score", "boxes", "mean score", "accuracy"), rows, "percent")
    return Section("Reliability of scores", note, [ChartGrid([chart]), Details("As a table", table)])
