"""The model card: what a model is, was made of, and is worth, on one Markdown page (Mitchell et al., 2019)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.spec import Spec
from blitznet.report.markdown import cell, grid


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One of a model's files."""

    name: str
    size: int
    """bytes"""
    sha256: str
    precision: str


@dataclass(frozen=True, slots=True)
class Card:
    """What a card is made of; what is not known is left out."""

    spec: Spec
    files: tuple[ModelFile, ...]
    parameters: int | None = None
    notes: str = ""
    """what no file tells, Markdown: data and its terms, teachers, known failures"""
    scores: Mapping[str, Any] | None = None
    """as `blitznet eval --json` writes them"""
    speed: Mapping[str, Any] | None = None
    """as `blitznet bench --json` writes it"""
    pictures: tuple[str, ...] = ()
    """files beside the card, of images with the model's answers"""


def card_page(card: Card) -> str:
    """The page."""
    parts = [f"# {card.spec.name}", *_about(card), _files(card.files)]
    if card.notes:
        parts.append(card.notes.strip())
    if card.scores is not None:
        parts += _scores(card.scores)
    if card.speed is not None:
        parts += _speed(card.speed)
    if card.pictures:
        parts += ["## What it answers", *(f"![{name}]({name})" for name in card.pictures)]
    return "\n\n".join(parts) + "\n"


def spec_rows(spec: Spec, parameters: int | None) -> Iterator[tuple[str, str]]:
    """What a contract says, in words."""
    height, width = spec.size
    yield "answers", " and ".join({"detection": "object boxes", "segmentation": "a class map"}[x] for x in spec.tasks)
    yield "classes", f"{len(spec.classes)}: {', '.join(spec.classes)}"
    yield "input", f"uint8 RGB, {width} x {height} pixels (any image is brought to that size)"
    if "detection" in spec.tasks:
        cells = sum(high * wide for high, wide in feature_map_sizes(spec.anchors, spec.size))
        yield "anchors", f"{cells * spec.anchors.num_anchors_per_cell:,}"
    if parameters is not None:
        yield "parameters", f"{parameters / 1e6:.2f} million"
    limits = spec.postprocess
    yield (
        "limits",
        f"score above {limits.score_threshold:g}; suppression at IoU {limits.nms_threshold:g} of the best {limits.topk_candidates} of a class; "
        f"{limits.max_per_class} boxes of a class, {limits.max_detections} of a image",
    )
    yield (
        "scores",
        f"logits by {spec.score_calibration.temperature:g}, then {spec.score_calibration.bias:+g}; class map's by {spec.segmentation_temperature:g}",
    )
    yield "licence", spec.license
    yield "provenance", spec.provenance or "not told"


def _about(card: Card) -> list[str]:
    rows = [f"| {name} | {cell(text)} |" for name, text in spec_rows(card.spec, card.parameters)]
    return ["\n".join(["| | |", "|---|---|", *rows])]


def _files(files: Sequence[ModelFile]) -> str:
    rows = [(file.name, f"{file.size / 1e6:.1f} MB", file.precision, f"`{file.sha256}`") for file in files]
    return "## Files\n\n" + grid(("file", "size", "precision", "sha256"), rows)


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    sets: dict[str, Mapping[str, Any]] = {**scores.get("sets", {}), "all as one": scores}
    columns = ("percent", "images", "AP50, area", "AP50, pooled", "mean IoU", "box ECE", "pixel ECE")
    rows = []
    for name, one in sets.items():
        boxes, pixels, spread = one.get("detection") or {}, one.get("segmentation") or {}, one.get("intervals") or {}
        rows.append(
            (
                _short(name),
                str(one["images"]),
                _percent(boxes.get("ap50_area"), spread.get("ap50_area")),
                _percent(boxes.get("ap50_pooled"), spread.get("ap50_pooled")),
                _percent(pixels.get("miou"), spread.get("miou")),
                _percent(boxes.get("calibration_error")),
                _percent(pixels.get("calibration_error")),
            )
        )
    yield "## Scores\n\n" + grid(columns, rows)
    yield (
        "AP50 by VOC's rules; pooled: over classes with 20 objects and more; ECE: expected calibration error, of boxes "
        "from a score of 0.3, of pixels painted as a class. In brackets 95 % intervals by drawing images anew."
    )
    yield _classes(sets)


def _classes(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """AP50 of each class on each set, how many objects there are, and IoU over all."""
    parts = {name: (one.get("detection") or {}).get("per_class", {}) for name, one in sets.items()}
    painted = (sets["all as one"].get("segmentation") or {}).get("per_class", {})
    names = list(dict.fromkeys([name for part in parts.values() for name in part] + list(painted)))
    rows = [
        (name, *(_of_class(part.get(name)) for part in parts.values()), _of_class(painted.get(name)))
        for name in sorted(names)
    ]
    columns = ("class", *(f"AP50, {_short(name)}" for name in parts), "IoU")
    return grid(columns, rows) + "\n\nIn brackets: objects; for IoU, images that show the class."


def _speed(speed: Mapping[str, Any]) -> list[str]:
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
    columns = ("engine", "network, ms", "whole, ms", "images/s one by one", "in a stream", "MB")
    here = speed["machine"]
    return [
        "## Speed\n\n" + grid(columns, rows),
        f"Images of {speed['image_size']}, from an RGB array to boxes and full-size class map; {here['processor']}, "
        f"{here['cores']} cores, {speed['date'][:10]}.",
    ]


def _percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    spread = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
    return f"{100 * value:.1f}{spread}"


def _of_class(score: Mapping[str, Any] | None) -> str:
    return "-" if score is None else f"{100 * score['score']:.0f} ({score['count']})"


def _short(text: str) -> str:
    """`VOC2012@val` of `voc:some/where/VOC2012@val,weight=2`: a machine's paths are nobody's business."""
    return text.partition(",")[0].rpartition("/")[2].rpartition(":")[2]
