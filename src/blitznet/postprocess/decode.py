"""Decode raw network outputs into boxes (paper 3.5), in numpy.

The result is exactly that of scoring and decoding every anchor. Two shortcuts make it fast:

- Anchors that cannot pass the score threshold are dropped before the softmax.
- NMS removes a box only because of boxes with higher scores. So a first pass with a higher threshold and fewer
  candidates is enough if it already gives as many boxes as an image may have.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from blitznet.core.arrays import Flags, Floats, Labels, Scores
from blitznet.core.boxes import decode
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.postprocess.bilinear import Indices
from blitznet.postprocess.nms import DetectionArrays, nms_top_k

_LOGIT_TOLERANCE = 1e-3
"""slack of the prefilter, in logits: more than the float32 rounding error between logits and softmax"""
_SAMPLE_STRIDE = 17
"""every 17th anchor is sampled to estimate thresholds; not a multiple of the anchors per cell"""
_THRESHOLD_SCHEDULE = ((8, 1.75), (12, 2.5), (20, 4.0))
"""trial passes before the configured threshold, as (candidates per detection of `max_detections`, maximum candidates
of a class as a multiple of `topk_candidates`); the first pass is enough for most images"""


def decode_detections(
    offsets: Floats, logits: Floats, anchors: Floats, spec: Spec, config: PostprocessConfig
) -> DetectionArrays:
    """Decode the boxes of one image.

    For each class: the best `topk_candidates` scores above the threshold, NMS, at most `max_per_class`. Then the best
    `max_detections` of all classes. Equal scores are ordered by class, then by anchor.

    Args:
        offsets: (A, 4) encoded offsets.
        logits: (A, C) class logits, background first.
        anchors: (A, 4) cx cy w h, fractions of the image.
        spec: Variances of the offsets and calibration of the scores.
        config: Thresholds, for calibrated scores.

    Returns:
        Boxes (N, 4) x1 y1 x2 y2 as fractions 0..1 of the image, calibrated scores (N,) descending, labels (N,).
    """
    config = replace(config, score_threshold=spec.score_calibration.inverse(config.score_threshold))
    detections = empty_detections()
    for thresholds in _threshold_schedule(logits, config):
        candidates = _select_candidates(logits, thresholds, config)
        if candidates is None:
            continue
        rows, labels, scores = candidates
        with np.errstate(over="ignore"):  # an infinite box is clipped like any other
            boxes = np.clip(decode(offsets[rows], anchors[rows], spec.anchors.variances), 0, 1)
        detections = nms_top_k(boxes, scores, labels, config)
        if len(detections[0]) == config.max_detections:
            break
    boxes, scores, labels = detections
    return boxes, spec.score_calibration.apply(scores), labels


def empty_detections() -> DetectionArrays:
    """No boxes, scores and labels."""
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


def _threshold_schedule(logits: Floats, config: PostprocessConfig) -> Iterator[Floats]:
    """Score thresholds (K,) to try in turn, estimated from a sample of the anchors; the last is the configured one.

    A threshold should leave enough candidates for the image, and at least `topk_candidates` in a class that has more.
    """
    negative_scores = -_softmax_scores(logits[::_SAMPLE_STRIDE])  # (K, n)
    topk = config.topk_candidates // _SAMPLE_STRIDE
    ranks = [min(int(factor * topk), negative_scores.shape[1] - 1) for _, factor in _THRESHOLD_SCHEDULE]
    if 0 < topk <= ranks[0]:
        negative_scores.partition((topk, *ranks), axis=1)
        counted = negative_scores[:, :topk]  # candidates beyond a class's top k are dropped anyway
    else:
        counted, ranks = negative_scores, []
    for index, (candidates_per_box, _) in enumerate(_THRESHOLD_SCHEDULE):
        rank = candidates_per_box * config.max_detections // _SAMPLE_STRIDE
        if 0 < rank < counted.size:
            estimate = -np.partition(counted.ravel(), rank)[rank]
            if estimate > config.score_threshold:
                if ranks:
                    yield np.maximum(estimate, -negative_scores[:, ranks[index]])
                else:
                    yield np.full(len(negative_scores), estimate)
    yield np.full(len(negative_scores), config.score_threshold, np.float32)


def _select_candidates(
    logits: Floats, thresholds: Floats, config: PostprocessConfig
) -> tuple[Indices, Labels, Scores] | None:
    """Anchor, label and score of the candidates for NMS, ordered by label, descending score, anchor.

    None if a class with a raised threshold (K,) has fewer than `topk_candidates` left.
    """
    rows = _possible_anchors(logits, thresholds)
    scores = _softmax_scores(logits[rows])  # (K, n)
    passing = scores > thresholds[:, None]
    counts = passing.sum(1)
    if (counts[thresholds > thresholds.min()] < config.topk_candidates).any():
        return None
    crowded = np.flatnonzero(counts > config.topk_candidates)
    if len(crowded):
        passing[crowded] &= _top_k_mask(scores[crowded], config.topk_candidates)
    flat = np.flatnonzero(passing)
    labels, columns = np.divmod(flat, max(1, len(rows)))
    candidate_scores = scores.ravel()[flat]
    order = np.lexsort((-candidate_scores, labels))  # stable: equal scores stay in the order of anchors
    return rows[columns[order]], labels[order], candidate_scores[order]


def _top_k_mask(scores: Scores, k: int) -> Flags:
    """Mask of the `k` highest scores in each row (K, n); of equal scores the first are selected."""
    if not k:
        return np.zeros(scores.shape, np.bool_)
    kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]  # (K, 1)
    above, equal = scores > kth, scores == kth
    missing = k - above.sum(1, keepdims=True)
    if (equal.sum(1, keepdims=True) > missing).any():
        equal &= equal.cumsum(1) <= missing
    return np.asarray(above | equal)


def _possible_anchors(logits: Floats, thresholds: Floats) -> Indices:
    """Indices, ascending, of the anchors with some class that may pass its threshold (K,).

    A class's softmax probability is at most sigmoid(logit - background logit).
    """
    if not 0 < thresholds.min() <= thresholds.max() < 1:
        return np.arange(len(logits)) if thresholds.min() <= 0 else np.zeros(0, np.intp)
    margins = (np.log(thresholds / (1 - thresholds)) - _LOGIT_TOLERANCE).astype(np.float32)
    # The smallest margin for all classes first: numpy is fast when a row is compared with one number.
    passing = logits > logits[:, :1] + margins.min()
    passing[:, 0] = False
    if np.count_nonzero(passing) > len(logits):
        return np.flatnonzero((logits[:, 1:] > logits[:, :1] + margins).any(1))
    flat = np.flatnonzero(passing)
    rows: Indices
    rows, channels = np.divmod(flat, logits.shape[1])
    rows = rows[logits.ravel()[flat] > logits[rows, 0] + margins[channels - 1]]
    return rows[np.flatnonzero(np.diff(rows, prepend=-1))]  # each anchor once


def _softmax_scores(logits: Floats) -> Floats:
    """Probabilities (K, n) of the classes without background, of logits (n, C); transposed, which is faster."""
    exponentials = logits.T.copy()
    exponentials -= exponentials.max(0)
    np.exp(exponentials, out=exponentials)
    return np.asarray(exponentials[1:] / exponentials.sum(0))
