"""From raw answers to boxes, in numpy: the paper's 3.5, exactly, in the order that computes least.

What can be thrown away is thrown away before it is computed, which changes nothing in the answer: anchors that
cannot pass the score limit are left out before softmax and decoding; and suppression looks upwards only, so once
the best candidates alone give as many boxes as an image may have, the others are never looked at.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, Flags, Floats, Labels, Scores
from blitznet.core.boxes import decode
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.nms import batched_nms

_SLACK = 1e-3
"""the prefilter may let too much pass, never too little: more than float32 loses between logits and softmax"""
_SAMPLED = 17
"""one anchor in so many tells how high scores are; no multiple of the shapes at a place"""
_CANDIDATES = ((8, 1.75), (12, 2.5), (20, 4.0))
"""on the first looks, for each box an image may have, and for each candidate a class may have; most images need one"""

DetectionArrays = tuple[Boxes, Scores, Labels]
Rows = NDArray[np.intp]


def decode_detections(
    offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, config: PostprocessConfig
) -> DetectionArrays:
    """Boxes (N, 4) as fractions 0..1, scores and labels (N,) of one image.

    offsets (A, 4), logits (A, C) with background first, anchors (A, 4) cx cy w h. Per class: scores above
    `limits.score`, the best `candidates` of them, suppression, at most `per_class`; then the best
    `per_image` of all. Order: falling score; equal scores by class, then by anchor.
    """
    config = replace(config, score_threshold=spec.score_calibration.inverse(config.score_threshold))
    found = empty_detections()
    for bars in _looks(logits, config):
        picked = _candidates(logits, bars, config)
        if picked is None:
            continue
        found = _suppressed(*picked, offsets, anchors, spec, config)
        if len(found[0]) == config.max_detections:
            break
    return found[0], spec.score_calibration.apply(found[1]), found[2]


def empty_detections() -> DetectionArrays:
    """No boxes, no scores, no labels."""
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


def _looks(logits: Floats, limits: PostprocessConfig) -> Iterator[Floats]:
    """Score limits (K,) to try: those that will leave enough, as far as some of the anchors tell; then the true one.

    Enough for the image, and of a class that has more than its candidates enough for these.
    """
    sample = -_scores(logits[::_SAMPLED])  # (K, n)
    most = limits.topk_candidates // _SAMPLED
    rooms = [min(int(share * most), sample.shape[1] - 1) for _, share in _CANDIDATES]
    if 0 < most <= rooms[0]:
        sample.partition((most, *rooms), axis=1)
        counting = sample[:, :most]  # what a class has beyond its candidates does not count
    else:
        counting, rooms = sample, []
    for number, (boxes, _) in enumerate(_CANDIDATES):
        expected = boxes * limits.max_detections // _SAMPLED
        if 0 < expected < counting.size:
            guess = -np.partition(counting.ravel(), expected)[expected]
            if guess > limits.score_threshold:
                yield np.maximum(guess, -sample[:, rooms[number]]) if rooms else np.full(len(sample), guess)
    yield np.full(len(sample), limits.score_threshold, np.float32)


def _suppressed(
    anchor: Rows, label: Labels, score: Scores, offsets: Floats, anchors: Floats, spec: Spec, limits: PostprocessConfig
) -> DetectionArrays:
    """The best boxes that are left of the candidates."""
    with np.errstate(over="ignore"):  # an endless box is clipped like any other
        placed = np.clip(decode(offsets[anchor], anchors[anchor], spec.anchors.variances), 0, 1)
    kept = np.flatnonzero(
        batched_nms(placed, label, iou_threshold=limits.nms_threshold, max_detections=limits.max_per_class)
    )
    best = kept[np.argsort(-score[kept], kind="stable")[: limits.max_detections]]
    return placed[best], score[best], label[best]


def _candidates(logits: Floats, bars: Floats, limits: PostprocessConfig) -> tuple[Rows, Labels, Scores] | None:
    """Anchor, label and score of what goes into suppression, by label, falling score, anchor.

    Of each class (K,) what is above its bar. None where a bar above the true limit hides some of a class's best.
    """
    rows = _possible(logits, bars)
    table = _scores(logits[rows])  # (K, n)
    passing = table > bars[:, None]
    counts = passing.sum(1)
    if (counts[bars > bars.min()] < limits.topk_candidates).any():
        return None
    many = np.flatnonzero(counts > limits.topk_candidates)
    if len(many):
        passing[many] &= _best(table[many], limits.topk_candidates)
    place = np.flatnonzero(passing)
    label, row = np.divmod(place, max(1, len(rows)))
    score = table.ravel()[place]
    order = np.lexsort((-score, label))  # stable: equal scores stay in the anchors' order
    return rows[row[order]], label[order], score[order]


def _best(table: Scores, count: int) -> Flags:
    """Which of each row's (K, n) are its `count` best; of equal ones the first."""
    if not count:
        return np.zeros(table.shape, np.bool_)
    least = -np.partition(-table, count - 1, axis=1)[:, count - 1 : count]  # (K, 1)
    best, equal = table > least, table == least
    lacking = count - best.sum(1, keepdims=True)
    if (equal.sum(1, keepdims=True) > lacking).any():
        equal &= equal.cumsum(1) <= lacking
    return np.asarray(best | equal)


def _possible(logits: Floats, bars: Floats) -> Rows:
    """Anchors of which some class may have a probability above its bar (K,), rising.

    Softmax over C classes gives a class at most what softmax over it and background alone would.
    """
    if not 0 < bars.min() <= bars.max() < 1:
        return np.arange(len(logits)) if bars.min() <= 0 else np.zeros(0, np.intp)
    least = (np.log(bars / (1 - bars)) - _SLACK).astype(np.float32)
    # One bar for all first: numpy is fast where rows are compared with one number each.
    passing = logits > logits[:, :1] + least.min()
    passing[:, 0] = False
    if np.count_nonzero(passing) > len(logits):
        return np.flatnonzero((logits[:, 1:] > logits[:, :1] + least).any(1))
    place = np.flatnonzero(passing)
    rows: Rows
    rows, channel = np.divmod(place, logits.shape[1])
    rows = rows[logits.ravel()[place] > logits[rows, 0] + least[channel - 1]]
    return rows[np.flatnonzero(np.diff(rows, prepend=-1))]


def _scores(logits: Floats) -> Floats:
    """Probabilities (K, n) of the classes without background, of logits (n, C); classes first, for speed."""
    power = logits.T.copy()
    power -= power.max(0)
    np.exp(power, out=power)
    return np.asarray(power[1:] / power.sum(0))
