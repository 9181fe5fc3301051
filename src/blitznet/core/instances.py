"""Which pixels belong to which box: instance masks and a panoptic map out of boxes and class map, without a network.

A box knows its class and where the thing ends; the class map knows where the class is, and nothing of things. So
inside a box its class need not be the best one: it has to beat background, and no other class by far. How sure it
has to be is what makes the mask reach from side to side of its box. Where things of one class overlap, a pixel
belongs to the one whose middle it is nearer to.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import VOID, Boxes, ClassMap, Floats, Labels, Scores
from blitznet.core.bilinear import Places, places

Mask: TypeAlias = NDArray[np.bool_]
"""(H, W), or those of a window"""
Window: TypeAlias = tuple[slice, slice]
"""rows and columns of the photo"""
Margins: TypeAlias = Callable[[int], Floats]
"""by how much (h, w) a label (0..K-1) is preferred to all that stands against it, in logits"""

LEAD = 2.0
"""another class's logit may be greater by this much inside the box of a class"""
BELIEF = 1.0
"""what a box adds to its class's logit in its middle; nothing on the ellipse inside it, less in its corners"""
STEPS = (0.0, 1.0, 2.0, 3.0, 4.0)
"""logits that may be added once more, for the mask to fill its box"""
COST = 0.1
"""of the box's area: what each added logit has to gain"""
GAIN = 0.02
"""of the box's area: what less is not worth a step"""
LEAST = 0.25
"""of the box's area: of a smaller mask nothing is believed, and the ellipse inside the box stands for it"""
RIVAL = 0.5
"""of a thing's score: what another of its class needs to take pixels from it"""
SPECK = 0.005
"""of the photo: what a class without a box has at least, to be a segment"""
_SURE = 8.0
"""the margin where there is no more than a class map to go by"""


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The pixels of each detection of a photo; those of one class never overlap but with much weaker ones."""

    boxes: Boxes
    """(N, 4) x1 y1 x2 y2"""
    scores: Scores
    """(N,)"""
    labels: Labels
    """(N,) 0..K-1"""
    size: tuple[int, int]
    """(H, W)"""
    windows: tuple[Window, ...]
    """where each one's box is, in whole pixels"""
    parts: tuple[Mask, ...]
    """which pixels of its window are a thing's"""

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, index: int) -> Mask:
        """(H, W): the pixels of detection `index`."""
        whole = np.zeros(self.size, np.bool_)
        whole[self.windows[index]] = self.parts[index]
        return whole


class Segment(NamedTuple):
    """What an id of a panoptic map stands for."""

    id: int
    """1, 2, ..."""
    label: int
    """0..K-1"""
    score: float | None
    """of its box; None: the class map saw the class, and no box of it was found"""
    area: int
    """pixels, at least 1"""


@dataclass(frozen=True, slots=True, eq=False)
class Panoptic:
    """One owner for every pixel."""

    ids: NDArray[np.uint16]
    """(H, W): 0 background, or the id of a segment"""
    segments: tuple[Segment, ...]


def instances(boxes: Boxes, scores: Scores, labels: Labels, margins: Margins, size: tuple[int, int]) -> Instances:
    """The pixels of each of N detections in a photo of `size` (H, W); margins as `of_logits` or `of_class_map` give."""
    windows = tuple(_window(box, size) for box in boxes)
    away = [_away(box, window) for box, window in zip(boxes, windows, strict=True)]
    fields = {label: margins(label) for label in {int(label) for label in labels}}
    parts = [
        _part(_stretched(fields[int(label)], window, size), near)
        for label, window, near in zip(labels, windows, away, strict=True)
    ]
    return Instances(boxes, scores, labels, size, windows, _divided(parts, windows, away, scores, labels))


def of_logits(logits: Floats) -> Margins:
    """Margins of segmentation logits (C, h, w), background first."""
    classes = logits[1:]
    best = classes.argmax(0)  # (h, w)
    first = classes.max(0)
    second = np.where(np.arange(len(classes))[:, None, None] == best, -np.inf, classes).max(0)

    def margin(label: int) -> Floats:
        rival = np.where(best == label, second, first) - np.float32(LEAD)
        return np.asarray(classes[label] - np.maximum(logits[0], rival), np.float32)

    return margin


def of_class_map(class_map: ClassMap) -> Margins:
    """Margins of a class map (H, W), where that is all there is."""
    return lambda label: np.where(class_map == label + 1, np.float32(_SURE), np.float32(-_SURE))


def panoptic(found: Instances, class_map: ClassMap) -> Panoptic:
    """One owner for every pixel: of several detections the best one of the class map's class there, then the best.

    class_map (H, W). A class that is seen without a box keeps what is nobody's, unless that is next to nothing;
    pixels of a class that has boxes, and outside of all of them, belong to nobody.
    """
    order = np.argsort(-found.scores, kind="stable")
    ids = _owned(found, order, class_map)
    unboxed = np.setdiff1d(_seen(np.where(ids == 0, class_map, np.uint8(0))), found.labels)
    numbers = np.zeros(VOID + 1, np.uint16)
    numbers[unboxed + 1] = len(order) + 1 + np.arange(len(unboxed))
    ids += np.where(ids == 0, numbers[class_map], np.uint16(0))
    areas = np.bincount(ids.ravel(), minlength=len(order) + len(unboxed) + 1)
    owners: list[tuple[int, float | None]] = [(int(found.labels[n]), float(found.scores[n])) for n in order]
    owners += [(int(label), None) for label in unboxed]
    every = (Segment(n, label, score, int(areas[n])) for n, (label, score) in enumerate(owners, start=1))
    return Panoptic(ids, tuple(segment for segment in every if segment.area))


def _owned(found: Instances, order: Labels, class_map: ClassMap) -> NDArray[np.uint16]:
    """The number (H, W) of the detection that each pixel belongs to, counted from 1 in this order; 0 for none."""
    ids = np.zeros(found.size, np.uint16)
    for agreed in (True, False):
        for number, index in enumerate(order, start=1):
            window = found.windows[index]
            place, free = ids[window], found.parts[index] & (ids[window] == 0)
            place[free & (class_map[window] == found.labels[index] + 1) if agreed else free] = number
    return ids


def _seen(class_map: ClassMap) -> Labels:
    """Labels that are more than next to nothing of a class map (H, W)."""
    pixels = np.bincount(class_map.ravel(), minlength=VOID)[1:VOID]
    return np.flatnonzero(pixels >= max(1, SPECK * class_map.size))


def _window(box: Floats, size: tuple[int, int]) -> Window:
    """The whole pixels of a box, one at least."""
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    top, left = min(max(y1, 0), size[0] - 1), min(max(x1, 0), size[1] - 1)
    return slice(top, min(max(y2, top + 1), size[0])), slice(left, min(max(x2, left + 1), size[1]))


def _away(box: Floats, window: Window) -> Floats:
    """How far (h, w) each pixel of a window is from the middle of the box, squared; 1 on the ellipse inside it."""
    y, x = (np.arange(side.start, side.stop, dtype=np.float32) + np.float32(0.5) for side in window)
    x1, y1, x2, y2 = box
    across = (x - (x1 + x2) / 2) / max((x2 - x1) / 2, np.float32(0.5))
    down = (y - (y1 + y2) / 2) / max((y2 - y1) / 2, np.float32(0.5))
    return np.asarray(down[:, None] ** 2 + across**2, np.float32)


def _stretched(field: Floats, window: Window, size: tuple[int, int]) -> Floats:
    """A field (h, w) bilinearly at `size`, half-pixel centres, inside a window only."""
    (top, bottom, down), (left, right, across) = (
        _between(inside, outside, side) for inside, outside, side in zip(field.shape, size, window, strict=True)
    )
    rows = slice(int(top.min()), int(bottom.max()) + 1)  # all that the window needs
    band = field[rows]
    wide = band[:, left] + (band[:, right] - band[:, left]) * across
    top, bottom = top - rows.start, bottom - rows.start
    return np.asarray(wide[top] + (wide[bottom] - wide[top]) * down[:, None], np.float32)


def _between(inside: int, outside: int, side: slice) -> tuple[Places, Places, Floats]:
    """For some pixels of `outside`: the places before and after each, of `inside`, and the share of the latter."""
    low, share = places(inside, outside)
    return low[side], np.minimum(low[side] + 1, inside - 1), share[side]


def _part(margin: Floats, away: Floats) -> Mask:
    """The mask (h, w) of one box: as much as it takes to fill it, the ellipse where next to nothing is seen."""
    margin = margin + np.float32(BELIEF) * (1 - away)
    most, farthest = -np.inf, STEPS[0]
    rows, columns = margin.max(1), margin.max(0)
    for step in STEPS:
        filled = _reach(rows > -step) * _reach(columns > -step) - COST * step
        if filled > most + GAIN:
            most, farthest = filled, step
    part = margin > -farthest
    return part if part.mean() >= LEAST else away < 1


def _reach(there: Mask) -> float:
    """From the first to the last (n,) that is there, as a share of all."""
    first, last = int(there.argmax()), len(there) - int(there[::-1].argmax())
    return (last - first) / len(there) if there[first] else 0.0


def _divided(
    parts: list[Mask], windows: tuple[Window, ...], away: list[Floats], scores: Scores, labels: Labels
) -> tuple[Mask, ...]:
    """The masks, each without what belongs to a rival: a thing of its class whose middle is nearer."""
    left = [part.copy() for part in parts]
    for one, other in permutations(range(len(parts)), 2):
        if labels[one] != labels[other] or scores[other] < RIVAL * scores[one]:
            continue
        shared = _shared(windows[one], windows[other])
        if shared is None:
            continue
        mine, theirs = (_inside(shared, windows[index]) for index in (one, other))
        compare = np.less_equal if other < one else np.less
        nearer = compare(away[other][theirs], away[one][mine])
        left[one][mine] &= ~(parts[other][theirs] & nearer)
    return tuple(left)


def _shared(one: Window, other: Window) -> Window | None:
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _inside(part: Window, window: Window) -> Window:
    """A part of a window, counted from the window's corner."""
    rows, columns = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, window, strict=True))
    return rows, columns
