"""From raw answers to boxes, in numpy: the paper's 3.5, exactly, in the order that computes least.

What can be thrown away is thrown away before it is computed, which changes nothing in the answer: anchors that
cannot pass the score limit are left out before softmax and decoding; and suppression looks upwards only, so once
the best candidates alone give as many boxes as an image may have, the others are never looked at.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import log

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Boxes, Flags, Floats, Labels, Scores
from blitznet.core.boxes import decode
from blitznet.core.spec import Limits, Spec
from blitznet.runtime.nms import suppress

_SLACK = 1e-3
"""the prefilter may let too much pass, never too little: more than float32 loses between logits and softmax"""
_SAMPLED = 17
"""one anchor in so many tells how high scores are; no multiple of the shapes at a place"""
_CANDIDATES = (8, 12, 20)
"""for each box an image may have, on the first looks; most photos need fewer than the first"""

Found = tuple[Boxes, Scores, Labels]
Rows = NDArray[np.intp]


def detections(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: Limits) -> Found:
    """Boxes (N, 4) as fractions 0..1, scores and labels (N,) of one image.

    offsets (A, 4), logits (A, C) with background first, anchors (A, 4) cx cy w h. Per class: scores above
    `limits.score`, the best `candidates` of them, suppression, at most `per_class`; then the best
    `per_image` of all. Order: falling score; equal scores by class, then by anchor.
    """
    found = nothing()
    for score in _looks(logits, limits, spec.temperature):
        found = _above(offsets, logits, anchors, spec, replace(limits, score=score))
        if len(found[0]) == limits.per_image:
            break
    return found


def nothing() -> Found:
    """No boxes, no scores, no labels."""
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


def _looks(logits: Floats, limits: Limits, temperature: float) -> Iterator[float]:
    """Score limits to try: those that will leave enough, as far as some of the anchors tell; then the true one."""
    sample = -_scores(logits[::_SAMPLED], temperature)  # (K, n)
    most = limits.candidates // _SAMPLED
    if 0 < most < sample.shape[1]:
        sample = np.partition(sample, most, axis=1)[:, :most]  # what a class has beyond its candidates does not count
    for candidates in _CANDIDATES:
        wanted = candidates * limits.per_image // _SAMPLED
        if 0 < wanted < sample.size:
            guess = -float(np.partition(sample.ravel(), wanted)[wanted])
            if guess > limits.score:
                yield guess
    yield limits.score


def _above(offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, limits: Limits) -> Found:
    """What `detections` promises, in one look at everything above the score limit."""
    anchor, label, score = _candidates(logits, limits, spec.temperature)
    if not len(anchor):
        return nothing()
    with np.errstate(over="ignore"):  # an endless box is clipped like any other
        placed = np.clip(decode(offsets[anchor], anchors[anchor], spec.anchors.variances), 0, 1)
    kept = np.flatnonzero(suppress(placed, label, iou=limits.iou, keep=limits.per_class))
    best = kept[np.argsort(-score[kept], kind="stable")[: limits.per_image]]
    return placed[best], score[best], label[best]


def _candidates(logits: Floats, limits: Limits, temperature: float) -> tuple[Rows, Labels, Scores]:
    """Anchor, label and score of what goes into suppression, by label, falling score, anchor."""
    rows = _possible(logits, limits.score, temperature)
    table = _scores(logits[rows], temperature)  # (K, n)
    passing = table > limits.score
    many = np.flatnonzero(passing.sum(1) > limits.candidates)
    if len(many):
        passing[many] &= _best(table[many], limits.candidates)
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


def _possible(logits: Floats, score: float, temperature: float) -> Rows:
    """Anchors of which some class may have a probability above `score`, rising.

    Softmax over C classes gives a class at most what softmax over it and background alone would.
    """
    if not 0 < score < 1:
        return np.arange(len(logits)) if score <= 0 else np.zeros(0, np.intp)
    least = np.float32(temperature * (log(score / (1 - score)) - _SLACK))
    passing = logits[:, 1:] > logits[:, :1] + least  # (A, K)
    if np.count_nonzero(passing) > len(logits):
        return np.flatnonzero(passing.any(1))
    rows: Rows = np.flatnonzero(passing) // passing.shape[1]  # where few pass, half the time of `any` over short rows
    return rows[np.flatnonzero(np.diff(rows, prepend=-1))]


def _scores(logits: Floats, temperature: float) -> Floats:
    """Probabilities (K, n) of the classes without background, of logits (n, C); classes first, for speed."""
    power = logits.T.copy() if temperature == 1 else logits.T / np.float32(temperature)
    power -= power.max(0)
    np.exp(power, out=power)
    return np.asarray(power[1:] / power.sum(0))
