"""Geometry of boxes in numpy: the reference that the torch twins are tested against."""

import numpy as np

from blitznet.core.arrays import Boxes, Floats


def area(boxes: Boxes) -> Floats:
    """Area (N,) of x1 y1 x2 y2 boxes; an inverted box has none."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def intersection(a: Boxes, b: Boxes) -> Floats:
    """Pairwise intersection (N, M) of a (N, 4) with b (M, 4), in the boxes' unit squared."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def iou(a: Boxes, b: Boxes) -> Floats:
    """Pairwise intersection over union (N, M), continuous coordinates; 0 where both are empty."""
    inter = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - inter
    shares: Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return shares


def xyxy_to_cxcywh(boxes: Boxes) -> Floats:
    """From corners x1 y1 x2 y2 to centre and size cx cy w h."""
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)


def cxcywh_to_xyxy(centre: Floats) -> Boxes:
    """From centre and size cx cy w h to corners x1 y1 x2 y2."""
    half = centre[..., 2:] / 2
    return np.concatenate([centre[..., :2] - half, centre[..., :2] + half], -1)


def encode(boxes: Boxes, anchors: Floats, variances: tuple[float, float, float, float]) -> Floats:
    """Offsets (N, 4) that carry anchors (N, 4; cx cy w h) onto boxes (N, 4; x1 y1 x2 y2). SSD, eq. 2."""
    centre = xyxy_to_cxcywh(boxes)
    shift = (centre[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    stretch = np.log(centre[..., 2:] / anchors[..., 2:])
    return np.asarray(np.concatenate([shift, stretch], -1) / np.asarray(variances, np.float32), np.float32)


def decode(offsets: Floats, anchors: Floats, variances: tuple[float, float, float, float]) -> Boxes:
    """Place offsets (N, 4) on anchors (N, 4; cx cy w h): x1 y1 x2 y2 in the anchors' unit, not clipped."""
    scaled = offsets * np.asarray(variances, np.float32)
    centre = anchors[..., :2] + scaled[..., :2] * anchors[..., 2:]
    size = anchors[..., 2:] * np.exp(scaled[..., 2:])
    return cxcywh_to_xyxy(np.concatenate([centre, size], -1))
