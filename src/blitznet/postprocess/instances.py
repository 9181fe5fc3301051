"""Which pixels belong to which box: instance masks and a panoptic map out of boxes and class map, without a network.

A box knows its class and where the thing ends; the class map knows where the class is, and nothing of things. So
inside a box its class need not be the best one: it has to beat background, and no other class by far. How sure it
has to be is what makes the mask reach from side to side of its box. Where things of one class overlap, a pixel
belongs to the one whose middle it is nearer to.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Floats, Labels, Scores
from blitznet.postprocess.bilinear import source_indices

Mask: TypeAlias = NDArray[np.bool_]
"""(H, W), or those of a window"""
Window: TypeAlias = tuple[slice, slice]
"""rows and columns of the image"""
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
"""of the image: what a class without a box has at least, to be a segment"""
_SURE = 8.0
"""the margin where there is no more than a class map to go by"""


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The pixels of each detection of a image; those of one class never overlap but with much weaker ones."""

    boxes: Boxes
    """(N, 4) x1 y1 x2 y2"""
    scores: Scores
    """(N,)"""
    labels: Labels
    """(N,) 0..K-1"""
    size: tuple[int, int]
    """(H, W)"""
    crops: tuple[Window, ...]
    """where each one's box is, in whole pixels"""
    crop_masks: tuple[Mask, ...]
    """which pixels of its window are a thing's"""

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, index: int) -> Mask:
        """(H, W): the pixels of detection `index`."""
        whole = np.zeros(self.size, np.bool_)
        whole[self.crops[index]] = self.crop_masks[index]
        return whole


class SegmentInfo(NamedTuple):
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

    segmentation: NDArray[np.uint16]
    """(H, W): 0 background, or the id of a segment"""
    segments_info: tuple[SegmentInfo, ...]


def instances(boxes: Boxes, scores: Scores, labels: Labels, margins: Margins, size: tuple[int, int]) -> Instances:
    """The pixels of each of N detections in a image of `size` (H, W); margins as `of_logits` or `of_class_map` give."""
    windows = tuple(_window(box, size) for box in boxes)
    fields = {label: margins(label) for label in {int(label) for label in labels}}
    parts = [
        _part(_believed(fields[int(label)], box, window, size), box, window)
        for label, box, window in zip(labels, boxes, windows, strict=True)
    ]
    return _divided(Instances(boxes, scores, labels, size, windows, tuple(parts)))


def margins_from_logits(logits: Floats) -> Margins:
    """Margins of segmentation logits (C, h, w), background first."""
    background, classes = logits[0], logits[1:]

    def margin(label: int) -> Floats:
        against = background
        for others in (classes[:label], classes[label + 1 :]):
            if len(others):
                against = np.maximum(against, others.max(0) - np.float32(LEAD))
        return np.asarray(classes[label] - against, np.float32)

    return margin


def margins_from_class_map(class_map: ClassMap) -> Margins:
    """Margins of a class map (H, W), where that is all there is."""
    return lambda label: np.where(class_map == label + 1, np.float32(_SURE), np.float32(-_SURE))


def panoptic(found: Instances, class_map: ClassMap) -> Panoptic:
    """One owner for every pixel: of several detections the best one of the class map's class there, then the best.

    class_map (H, W). A class that is seen without a box keeps what is nobody's, unless that is next to nothing;
    pixels of a class that has boxes, and outside of all of them, belong to nobody.
    """
    order = np.argsort(-found.scores, kind="stable")
    ids = _owned(found, order, class_map)
    counts = _counts(ids, class_map, len(order))  # (N + 1, 256)
    owners = zip(order, counts[1:].sum(1), strict=True)
    segments = [
        SegmentInfo(number, int(found.labels[n]), float(found.scores[n]), int(area))
        for number, (n, area) in enumerate(owners, start=1)
        if area
    ]
    free, number = ids == 0, len(order)
    for label in np.setdiff1d(_seen(counts[0], ids.size), found.labels):
        number += 1
        np.copyto(ids, np.uint16(number), where=free & (class_map == label + 1))
        segments.append(SegmentInfo(number, int(label), None, int(counts[0, label + 1])))
    return Panoptic(ids, tuple(segments))


def _owned(found: Instances, order: Labels, class_map: ClassMap) -> NDArray[np.uint16]:
    """The number (H, W) of the detection that each pixel belongs to, counted from 1 in this order; 0 for none."""
    ids = np.zeros(found.size, np.uint16)
    painted = [
        (number, found.crops[n], found.crop_masks[n], found.labels[n]) for number, n in enumerate(order, start=1)
    ]
    for number, window, part, _ in reversed(painted):  # the best last, over the others
        np.copyto(ids[window], np.uint16(number), where=part)
    for number, window, part, label in reversed(painted):
        np.copyto(ids[window], np.uint16(number), where=part & (class_map[window] == label + 1))
    return ids


def _counts(ids: NDArray[np.uint16], class_map: ClassMap, last: int) -> Labels:
    """(last + 1, 256) how many pixels of each class of the map each id has."""
    small = last < 256  # nearly always, and in a third of the time
    keys = (ids if small else ids.astype(np.int64)) << 8 | class_map
    return np.bincount(keys.ravel(), minlength=(last + 1) << 8).reshape(last + 1, 256)


def _seen(pixels: Labels, size: int) -> Labels:
    """Labels that are more than next to nothing of `size` pixels, by how many each value of a class map has (256,)."""
    return np.flatnonzero(pixels[1:IGNORE_INDEX] >= max(1, SPECK * size))


def _window(box: Floats, size: tuple[int, int]) -> Window:
    """The whole pixels of a box, one at least."""
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    top, left = min(max(y1, 0), size[0] - 1), min(max(x1, 0), size[1] - 1)
    return slice(top, min(max(y2, top + 1), size[0])), slice(left, min(max(x2, left + 1), size[1]))


def _away(box: Floats, window: Window) -> tuple[Floats, Floats]:
    """How far rows (h,) and columns (w,) of a window are from the middle of the box, squared.

    Their sum is 1 on the ellipse inside the box.
    """
    y, x = (np.arange(side.start, side.stop, dtype=np.float32) + np.float32(0.5) for side in window)
    x1, y1, x2, y2 = box
    across = (x - (x1 + x2) / 2) / max((x2 - x1) / 2, np.float32(0.5))
    down = (y - (y1 + y2) / 2) / max((y2 - y1) / 2, np.float32(0.5))
    return np.asarray(down**2, np.float32), np.asarray(across**2, np.float32)


def _believed(field: Floats, box: Floats, window: Window, size: tuple[int, int]) -> Floats:
    """A field (h, w) bilinearly at `size`, inside a window only, with what the box adds to it.

    Both are sums over few terms for a row and a column, so all is one product of matrices.
    """
    (rows, down), (columns, across) = (
        _weights(inside, outside, side) for inside, outside, side in zip(field.shape, size, window, strict=True)
    )
    far_down, far_across = _away(box, window)
    one = np.ones((len(far_down), 1), np.float32)
    tall = np.concatenate([down, one, far_down[:, None]], 1)
    belief = np.float32(BELIEF)
    wide = np.concatenate(
        [field[rows, columns] @ across.T, belief * (1 - far_across)[None], np.full_like(far_across, -belief)[None]]
    )
    believed: Floats = tall @ wide
    return believed


def _weights(inside: int, outside: int, side: slice) -> tuple[slice, Floats]:
    """The places of `inside` that some pixels of `outside` lie between, and their weights (pixels, places)."""
    low, share = (values[side] for values in _places(inside, outside))
    first, last = int(low[0]), min(int(low[-1]) + 1, inside - 1)
    weights, pixels = np.zeros((len(low), last + 1 - first), np.float32), np.arange(len(low))
    weights[pixels, low - first] = 1 - share
    weights[pixels, np.minimum(low + 1, last) - first] += share
    return slice(first, last + 1), weights


_places = lru_cache(maxsize=16)(source_indices)
"""for the sides of one image, which all its boxes ask for"""


def _part(margin: Floats, box: Floats, window: Window) -> Mask:
    """The mask (h, w) of one box: as much as it takes to fill it, the ellipse where next to nothing is seen."""
    most, farthest = -np.inf, STEPS[0]
    rows, columns = margin.max(1), margin.max(0)
    for step in STEPS:
        filled = _reach(rows > -step) * _reach(columns > -step) - COST * step
        if filled > most + GAIN:
            most, farthest = filled, step
    part = margin > -farthest
    if np.count_nonzero(part) >= LEAST * part.size:
        return part
    down, across = _away(box, window)
    return down[:, None] + across < 1


def _reach(there: Mask) -> float:
    """From the first to the last (n,) that is there, as a share of all."""
    first, last = int(there.argmax()), len(there) - int(there[::-1].argmax())
    return (last - first) / len(there) if there[first] else 0.0


def _divided(found: Instances) -> Instances:
    """The same without what belongs to a rival: a thing of its class whose middle is nearer."""
    left = [part.copy() for part in found.crop_masks]
    for one, other in combinations(range(len(left)), 2):
        shared = _shared(found.crops[one], found.crops[other])
        if found.labels[one] != found.labels[other] or shared is None:
            continue
        mine, theirs = (_inside(shared, found.crops[n]) for n in (one, other))
        (down, across), (far_down, far_across) = (_away(found.boxes[n], shared) for n in (one, other))
        nearer = (far_down - down)[:, None] < across - far_across  # to the other; the first one's where as near
        if found.scores[other] >= RIVAL * found.scores[one]:
            left[one][mine] &= ~(found.crop_masks[other][theirs] & nearer)
        if found.scores[one] >= RIVAL * found.scores[other]:
            left[other][theirs] &= ~(found.crop_masks[one][mine] & ~nearer)
    return replace(found, crop_masks=tuple(left))


def _shared(one: Window, other: Window) -> Window | None:
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _inside(part: Window, window: Window) -> Window:
    """A part of a window, counted from the window's corner."""
    rows, columns = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, window, strict=True))
    return rows, columns
