"""From raw outputs to a Result: what the paper's 3.5 does after the network.

What can be thrown away is thrown away before it is computed: anchors that cannot pass the score limit
are left out before softmax and decoding, which changes nothing in the answer.
"""

from math import inf, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid, grids, make_anchors
from blitznet.core.arrays import Boxes, ClassMap, Floats, Labels, Scores
from blitznet.core.boxes import decode
from blitznet.core.errors import ModelError
from blitznet.core.result import Outputs, Result
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.nms import suppress

_SLACK = 1e-3
"""the prefilter may let too much pass, never too little: more than float32 loses between logits and softmax"""
_TILE = 8
"""cells of the class map's logits, along a side, that are painted at a time"""

Found = tuple[Boxes, Scores, Labels]


def finish(
    outputs: Outputs,
    index: int,
    spec: Spec,
    *,
    size: Grid,
    fed: Grid | None = None,
    limits: Limits | None = None,
    class_map: bool = True,
) -> Result:
    """The Result of image `index` of a batch.

    size (H, W) of the original photo; fed (h, w) of what the network saw, the contract's size if not given;
    limits instead of the contract's. A class map is made if asked for and if the network answers one.
    """
    boxes, scores, labels = _nothing()
    if outputs.offsets is not None and outputs.logits is not None:
        anchors = _anchors(spec, fed or spec.size, count=outputs.logits.shape[1])
        boxes, scores, labels = detections(
            outputs.offsets[index], outputs.logits[index], anchors, spec, limits or spec.limits
        )
    height, width = size
    return Result(
        boxes=boxes * np.asarray((width, height, width, height), np.float32),
        scores=scores,
        labels=labels,
        names=spec.classes,
        size=size,
        class_map=paint(outputs.class_map[index], size) if class_map and outputs.class_map is not None else None,
    )


def detections(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: Limits) -> Found:
    """Boxes (N, 4) as fractions 0..1, scores and labels (N,) of one image.

    offsets (A, 4), logits (A, C) with background first, anchors (A, 4) cx cy w h. Per class: scores above
    `limits.score`, the best `candidates` of them, suppression, at most `per_class`; then the best
    `per_image` of all. Order: falling score; equal scores by class, then by anchor.
    """
    anchor, label, score = _candidates(logits, limits)
    if not len(anchor):
        return _nothing()
    used, back = np.unique(anchor, return_inverse=True)
    with np.errstate(over="ignore"):  # an endless box is clipped like any other
        placed = np.clip(decode(offsets[used], anchors[used], spec.anchors.variances), 0, 1)[back]
    row, rank = _table(label)
    shape = (int(row[-1]) + 1, int(rank.max()) + 1)
    boxes, valid = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.bool_)
    boxes[row, rank], valid[row, rank] = placed, True
    kept = suppress(boxes, valid, iou=limits.iou, keep=limits.per_class)[row, rank]
    best = np.flatnonzero(kept)
    best = best[np.argsort(-score[best], kind="stable")[: limits.per_image]]
    return placed[best], score[best], label[best]


def paint(logits: Floats, size: Grid) -> ClassMap:
    """The class map (H, W): logits (C, h, w) bilinearly to `size`, then the best channel (reference 7.6).

    Half-pixel centres, as torch's `align_corners=False`. Of equal channels the first wins. Made tile by
    tile, each from the channels that can win there, so that a large photo needs little time and memory.
    """
    rows, columns = _between(logits.shape[1], size[0]), _between(logits.shape[2], size[1])
    painted = np.empty(size, np.uint8)
    for down in _tiles(rows):
        for across in _tiles(columns):
            painted[down, across] = _paint_tile(logits, rows.part(down), columns.part(across))
    return painted


class _Places(NamedTuple):
    """For each place along a side: the two places of the map it lies between, and the second's share."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: Floats

    def part(self, cut: slice) -> "_Places":
        return _Places(self.low[cut], self.high[cut], self.share[cut])


def _between(inside: int, outside: int) -> _Places:
    place = (np.arange(outside) + 0.5) * (inside / outside) - 0.5
    place = place.clip(0, inside - 1)
    low = place.astype(np.intp)
    return _Places(low, np.minimum(low + 1, inside - 1), (place - low).astype(np.float32))


def _tiles(places: _Places) -> list[slice]:
    """Cuts of a side at every `_TILE` places of the map, leaving out those without a pixel."""
    cuts = np.searchsorted(places.low, np.arange(0, places.low[-1] + 1, _TILE)).tolist()
    return [slice(start, end) for start, end in zip(cuts, [*cuts[1:], len(places.low)], strict=True) if start < end]


def _paint_tile(logits: Floats, rows: _Places, columns: _Places) -> ClassMap:
    """Best channel of logits (C, h, w) at the given rows and columns."""
    patch = logits[:, rows.low[0] : rows.high[-1] + 1, columns.low[0] : columns.high[-1] + 1]
    channels = _contenders(patch)
    label = np.full((len(rows.low), len(columns.low)), channels[0], np.uint8)
    if len(channels) == 1:
        return label
    low, high = columns.low - columns.low[0], columns.high - columns.low[0]
    patch = patch[channels]
    wide = _blend(patch[:, :, low], patch[:, :, high], columns.share)  # (n, h, W)
    low, high, share = rows.low - rows.low[0], rows.high - rows.low[0], rows.share[:, None]
    best = _blend(wide[0, low], wide[0, high], share)
    for channel, one in zip(channels[1:], wide[1:], strict=True):
        value = _blend(one[low], one[high], share)
        label[value > best] = channel
        np.maximum(best, value, out=best)
    return label


def _contenders(patch: Floats) -> NDArray[np.intp]:
    """Channels of (C, h, w) that may be the best at some point between its cells.

    One that is everywhere below another's lowest value is not; the slack is for rounding.
    """
    bound = patch.min((1, 2)).max() - 1e-5 * np.abs(patch).max()
    return np.flatnonzero(~(patch.max((1, 2)) < bound))


def _blend(a: Floats, b: Floats, share: Floats) -> Floats:
    return a + (b - a) * share


def _anchors(spec: Spec, fed: Grid, *, count: int) -> Floats:
    anchors = make_anchors(spec.anchors, grids(spec.anchors, fed))
    if len(anchors) != count:
        raise ModelError(
            f"{spec.name}: its contract lays {len(anchors)} anchors over {fed[1]}x{fed[0]} pixels, "
            f"the network answers for {count}; the file and its contract do not belong together"
        )
    return anchors


def _candidates(logits: Floats, limits: Limits) -> tuple[NDArray[np.intp], Labels, Scores]:
    """Anchor, label and score of what goes into suppression, by label, falling score, anchor."""
    margin = logits[:, 1:] - logits[:, :1]  # (A, K)
    rows = np.flatnonzero((margin > _least_margin(limits.score)).any(1))
    scores = _softmax(logits[rows])[:, 1:]  # (n, K)
    row, label = np.nonzero(scores > limits.score)
    score = scores[row, label]
    order = np.lexsort((-score, label))  # stable: equal scores stay in the anchors' order
    order = order[_table(label[order])[1] < limits.candidates]
    return rows[row[order]], label[order].astype(np.int64), score[order]


def _least_margin(score: float) -> float:
    """A class's logit must exceed background's by this for its probability to exceed `score`.

    Softmax over C classes gives at most what softmax over that class and background alone would.
    """
    if not 0 < score < 1:
        return -inf if score <= 0 else inf
    return log(score / (1 - score)) - _SLACK


def _softmax(logits: Floats) -> Floats:
    """Softmax over the last axis of (n, C)."""
    power = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(power / power.sum(-1, keepdims=True), np.float32)


def _table(label: Labels) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For rising labels (n,): the row of each label, counted without gaps, and the place within its row."""
    first = np.flatnonzero(np.diff(label, prepend=-1))
    row = np.zeros(len(label), np.intp)
    row[first] = 1
    row = row.cumsum() - 1
    return row, np.arange(len(label)) - first[row]


def _nothing() -> Found:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
