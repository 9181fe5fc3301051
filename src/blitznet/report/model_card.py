"""Model card: a Markdown page with a model's spec, files, scores and speed (Mitchell et al., 2019)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.spec import Spec
from blitznet.metrics.report import ALL_SETS
from blitznet.report.markdown import escape_cell, markdown_table
from blitznet.report.percent import percent, percent_with_interval


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One of a model's files."""

    name: str
    size: int
    """bytes"""
    sha256: str
    """hexadecimal digest"""
    precision: str
    """numeric precision, `Spec.precision`"""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Content of a model card. Optional parts without a value are left out of the page."""

    spec: Spec
    files: tuple[ModelFile, ...]
    parameters: int | None = None
    """number of the network's parameters"""
    notes: str = ""
    """Markdown: training data and its terms, teachers, known failures"""
    scores: Mapping[str, Any] | None = None
    """parsed JSON of `blitznet eval --json`"""
    speed: Mapping[str, Any] | None = None
    """parsed JSON of `blitznet bench --json`"""
    images: tuple[str, ...] = ()
    """names of image files with predictions, beside the card"""


def render_model_card(card: ModelCard) -> str:
    """The card as Markdown."""
    parts = [f"# {card.spec.name}", *_about(card), _files(card.files)]
    if card.notes:
        parts.append(card.notes.strip())
    if card.scores is not None:
        parts += _scores(card.scores)
    if card.speed is not None:
        parts += _speed(card.speed)
    if card.images:
        parts += ["## Example predictions", *(f"![{name}]({name})" for name in card.images)]
    return "\n\n".join(parts) + "\n"


def spec_rows(spec: Spec, parameters: int | None) -> Iterator[tuple[str, str]]:
    """Name and text of each property of a spec, for `blitznet info` and the card."""
    height, width = spec.size
    outputs = {"detection": "object boxes", "segmentation": "a class map"}
    yield "outputs", " and ".join(outputs[task] for task in spec.tasks)
    yield "classes", f"{len(spec.classes)}: {', '.join(spec.classes)}"
    for task in spec.tasks:
        predicted = spec.predicts(task)
        if not all(predicted):
            names = [name for name, flag in zip(spec.classes, predicted, strict=True) if flag]
            yield f"classes of {outputs[task].removeprefix('object ')}", f"{len(names)}: {', '.join(names)}"
    yield "input", f"uint8 RGB, {width} x {height} pixels (images are resized)"
    if "detection" in spec.tasks:
        cells = sum(rows * columns for rows, columns in feature_map_sizes(spec.anchors, spec.size))
        yield "anchors", f"{cells * spec.anchors.num_anchors_per_cell:,}"
    if parameters is not None:
        yield "parameters", f"{parameters / 1e6:.2f} million"
    yield "post-processing", _postprocess_text(spec)
    yield "calibration", _calibration_text(spec)
    yield "license", spec.license
    yield "provenance", spec.provenance or "unknown"


def _postprocess_text(spec: Spec) -> str:
    config = spec.postprocess
    return (
        f"score threshold {config.score_threshold:g}; NMS at IoU {config.nms_threshold:g} of the top "
        f"{config.topk_candidates} of each class; at most {config.max_per_class} boxes of a class and "
        f"{config.max_detections} of an image"
    )


def _calibration_text(spec: Spec) -> str:
    scaling = spec.score_calibration
    return (
        f"Platt scaling, temperature {scaling.temperature:g}, bias {scaling.bias:+g}; "
        f"segmentation temperature {spec.segmentation_temperature:g}"
    )


def _about(card: ModelCard) -> list[str]:
    """The table of the spec, with an empty header and text aligned left, unlike `markdown_table`."""
    rows = [f"| {name} | {escape_cell(text)} |" for name, text in spec_rows(card.spec, card.parameters)]
    return ["\n".join(["| | |", "|---|---|", *rows])]


def _files(files: Sequence[ModelFile]) -> str:
    rows = [(file.name, f"{file.size / 1e6:.1f} MB", file.precision, f"`{file.sha256}`") for file in files]
    return "## Files\n\n" + markdown_table(("file", "size", "precision", "sha256"), rows)


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    """The section on scores: a row for each set and one for all sets, the legend, and the scores of each class."""
    sets: dict[str, Mapping[str, Any]] = {**scores.get("sets", {}), ALL_SETS: scores}
    columns = ("percent", "images", "AP50 area", "AP50 frequent", "mean IoU", "box ECE", "pixel ECE")
    rows = []
    for name, values in sets.items():
        detection, segmentation = values.get("detection") or {}, values.get("segmentation") or {}
        intervals = values.get("intervals") or {}
        rows.append(
            (
                _short_title(name),
                str(values["images"]),
                percent_with_interval(detection.get("ap50_area"), intervals.get("ap50_area")),
                percent_with_interval(detection.get("ap50_frequent"), intervals.get("ap50_frequent")),
                percent_with_interval(segmentation.get("miou"), intervals.get("miou")),
                percent(detection.get("calibration_error")),
                percent(segmentation.get("calibration_error")),
            )
        )
    has_intervals = any(values.get("intervals") for values in sets.values())
    brackets = " In brackets: 95 % bootstrap intervals over images." if has_intervals else ""
    yield "## Scores\n\n" + markdown_table(columns, rows)
    yield (
        "AP50 by the rules of the VOC devkit, area under the curve; frequent: macro mean over the classes with at "
        "least 20 objects. ECE: expected calibration error, of boxes with a score of at least 0.3, and of pixels not "
        f"predicted as background.{brackets}"
    )
    yield _class_scores(sets)


def _class_scores(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """AP50 of each class on each set, and IoU over all sets."""
    ap50 = {name: (values.get("detection") or {}).get("per_class", {}) for name, values in sets.items()}
    iou = (sets[ALL_SETS].get("segmentation") or {}).get("per_class", {})
    class_names = {name for per_class in (*ap50.values(), iou) for name in per_class}
    rows = [
        (name, *(_class_cell(per_class.get(name)) for per_class in ap50.values()), _class_cell(iou.get(name)))
        for name in sorted(class_names)
    ]
    columns = ("class", *(f"AP50, {_short_title(name)}" for name in ap50), "IoU")
    return markdown_table(columns, rows) + "\n\nIn brackets: number of objects; for IoU, of images with the class."


def _speed(speed: Mapping[str, Any]) -> list[str]:
    """The section on speed: median milliseconds, images per second, and peak memory of the process in MB."""
    rows = [
        (
            f"{row['engine']}, {row['precision']}",
            f"{row['stages']['network']['median']:.1f}",
            f"{row['stages']['total']['median']:.1f}",
            f"{row['frames_per_second']:.0f}",
            f"{row['streamed_per_second']:.0f}",
            f"{row['peak_memory']:.0f}",
        )
        for row in speed["rows"]
    ]
    columns = ("engine", "network, ms", "total, ms", "images/s, single", "images/s, stream", "MB")
    machine = speed["machine"]
    return [
        "## Speed\n\n" + markdown_table(columns, rows),
        f"Images of {speed['image_size']}, from an RGB array to boxes and full-size class map; "
        f"{machine['processor']}, {machine['cores']} cores, {speed['date'][:10]}.",
    ]


def _class_cell(score: Mapping[str, Any] | None) -> str:
    """Score of a class in percent and its count: `82 (123)`; `-` without a score."""
    return "-" if score is None else f"{percent(score['score'], digits=0)} ({score['count']})"


def _short_title(text: str) -> str:
    """A dataset's name without format, folders and options: `voc:a/b/VOC2012@val,sample_weight=2` -> `VOC2012@val`."""
    return text.partition(",")[0].rpartition("/")[2].rpartition(":")[2]
