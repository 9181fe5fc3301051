"""The sections of the page of `blitznet eval --report`, each from the evidence of all sets as one."""

from collections.abc import Iterator

import numpy as np

from blitznet.metrics import voc_ap
from blitznet.metrics.bootstrap import once
from blitznet.metrics.calibration.reliability import reliability
from blitznet.metrics.confusion import CONFIDENT, box_confusion
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.matching import Numbers
from blitznet.metrics.sizes import BOUNDS, by_size
from blitznet.metrics.tide import KINDS, gains
from blitznet.report.blocks import Bar, Bars, Folded, Grid, Heat
from blitznet.report.charts import Chart, Charts, Column, Dot
from blitznet.report.html import Section

THRESHOLDS = (0.9, 0.7, 0.5, 0.3, 0.1)
"""scores whose place on the curves is shown"""
_MEANING = {
    "classification": "in place on an object of another class",
    "localisation": "the right class, but an overlap of 0.1 to 0.5",
    "both": "another class and out of place",
    "duplicate": "on an object that a box with a higher score has found",
    "background": "an overlap of at most 0.1 with any object",
    "missed": "objects that no box finds, nor would with its class or its place mended",
}


def sections(whole: EvaluationState) -> Iterator[Section]:
    """What there is to show of boxes and of pixels."""
    if whole.boxed:
        yield _errors(whole)
        yield _curves(whole)
        yield _box_confusion(whole)
        yield _sizes(whole)
        yield _reliability(whole)
    if len(whole.tables):
        yield _pixel_confusion(whole)


def percent(value: float | None) -> str:
    """A fraction for people; `-` was not measured."""
    return "-" if value is None or np.isnan(value) else f"{100 * value:.1f}"


def _errors(whole: EvaluationState) -> Section:
    found = gains(whole)
    most = max(max(gain.ap50 for gain in found.values()), 1e-9)
    bars = [
        Bar(kind, (f"{100 * gain.ap50:+.1f}", str(gain.count)), gain.ap50 / most, _MEANING[kind])
        for kind, gain in ((kind, found[kind]) for kind in KINDS)
    ]
    note = (
        "TIDE's six kinds of error (Bolya et al., 2020): how often each occurs at any score, and by how many points "
        "AP50 (area rule) would rise if this kind alone were mended."
    )
    return Section("Kinds of error", note, [Bars(("error", "AP50 gained", "count"), bars)])


def _curves(whole: EvaluationState) -> Section:
    labels = voc_ap.occurring(whole.curves)
    areas = {label: float(voc_ap.area(whole.curves[label], once(whole.images))[0]) for label in labels}
    hardest = sorted(labels, key=lambda label: areas[label])
    charts, rows = [], []
    for label in hardest:
        name, curve, area = whole.class_names[label], whole.curves[label], percent(areas[label])
        charts.append(_curve(name, f"AP50 {area}, objects: {len(curve.objects)}", curve, whole.images))
        told = {at: f"{percent(share)} / {percent(reach)}" for at, share, reach in _at_thresholds(curve)}
        rows.append((name, area, *(told.get(at, "-") for at in THRESHOLDS)))
    note = (
        "Overlap 0.5, the hardest class first. The area is the interpolated curve, AP50 by the area rule; the dots are "
        f"the scores {', '.join(map(str, THRESHOLDS))}."
    )
    head = ("class", "AP50", *(f"score {at} and more" for at in THRESHOLDS))
    table = Grid(head, rows, "precision / recall, percent")
    return Section("Precision and recall", note, [Charts(charts), Folded("As a table", table)])


def _curve(name: str, note: str, curve: voc_ap.Curve, images: int) -> Chart:
    found, precision, total = curve.points(once(images))
    recall, best = found[0] / total[0], voc_ap.highest(precision)[0]  # (S,)
    dots = [
        Dot(x=reach, y=share, told=f"score {at} and more: precision {percent(share)} %, recall {percent(reach)} %")
        for at, share, reach in _at_thresholds(curve)
    ]
    steps = list(zip(recall.tolist(), best.tolist(), strict=True))
    return Chart(name, note, "recall", "precision", steps=steps, dots=dots)


def _at_thresholds(curve: voc_ap.Curve) -> list[tuple[float, float, float]]:
    """Threshold, precision and recall of the detections with this score, where there are any."""
    answer = []
    for at in THRESHOLDS:
        right = curve.right[curve.score >= np.float32(at)]
        if len(right):
            answer.append((at, float(right.mean()), float(right.sum() / len(curve.objects))))
    return answer


def _box_confusion(whole: EvaluationState) -> Section:
    note = (
        f"Boxes with a score of {CONFIDENT} and more. Every object has the box with the highest score that overlaps it "
        "by 0.5 or more; other boxes count as on background, objects without a box as predicted background."
    )
    return Section("Confusion of boxes", note, [_heat("Boxes", whole.class_names, box_confusion(whole), "boxes")])


def _pixel_confusion(whole: EvaluationState) -> Section:
    note = "All pixels whose class is known, by true and predicted class."
    table = whole.tables.sum(0, dtype=np.int64)
    return Section("Confusion of pixels", note, [_heat("Pixels", whole.class_names, table, "pixels")])


def _heat(title: str, names: tuple[str, ...], table: Numbers, unit: str) -> Heat:
    """Without the classes that neither occur nor are predicted."""
    kept = np.flatnonzero(table.sum(0) + table.sum(1))
    every = ("background", *names)
    return Heat(title, tuple(every[k] for k in kept), table[np.ix_(kept, kept)], unit)


def _sizes(whole: EvaluationState) -> Section:
    scores = by_size(whole)
    rows = [(name, _bounds(*BOUNDS[name]), str(one.objects), percent(one.ap50)) for name, one in scores.items()]
    note = (
        "AP50 by the area rule, percent; objects of other sizes are ignored, with COCO's bounds. "
        "An object's size is its box's."
    )
    return Section("Sizes of objects", note, [Grid(("size", "pixels", "objects", "AP50"), rows)])


def _bounds(low: float, high: float) -> str:
    if not low:
        return f"up to {high:.0f}"
    return f"{low:.0f} and more" if np.isinf(high) else f"{low:.0f} to {high:.0f}"


def _reliability(whole: EvaluationState) -> Section:
    bins = reliability(whole)
    names = [f"{one.low:.1f} to {one.high:.1f}" for one in bins]
    columns = [
        Column(one.low, one.high, one.right, f"score {name}: {percent(one.right)} % right, boxes: {one.count}")
        for name, one in zip(names, bins, strict=True)
    ]
    rows = [
        (name, str(one.count), percent(one.score), percent(one.right)) for name, one in zip(names, bins, strict=True)
    ]
    note = (
        "How many of the boxes with a score are right, overlap 0.5; on the dashed line a score of 0.7 is right in 70 %."
    )
    chart = Chart("Boxes", "share that is right, by score", "score", "right", columns=columns, diagonal=True)
    table = Grid(("score", "boxes", "mean score", "right"), rows, "percent")
    return Section("Reliability of scores", note, [Charts([chart]), Folded("As a table", table)])
