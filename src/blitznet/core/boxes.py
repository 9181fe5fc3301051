"""Box geometry in numpy: the reference that the torch and JavaScript versions are tested against."""

import numpy as np

from blitznet.core.arrays import Boxes, Floats


def area(boxes: Boxes) -> Floats:
    """Area (N,) of boxes x1 y1 x2 y2; 0 for inverted boxes."""
    size = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(size[..., 0] * size[..., 1], np.float32)


def intersection(a: Boxes, b: Boxes) -> Floats:
    """Pairwise intersection area (N, M) of boxes a (N, 4) and b (M, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    size = np.maximum(high - low, 0)
    return np.asarray(size[..., 0] * size[..., 1], np.float32)


def iou(a: Boxes, b: Boxes) -> Floats:
    """Pairwise intersection over union (N, M), continuous coordinates; 0 where the union is empty."""
    inter = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - inter
    ious: Floats = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    return ious


def xyxy_to_cxcywh(boxes: Boxes) -> Floats:
    """Convert corners x1 y1 x2 y2 to center and size cx cy w h."""
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)


def cxcywh_to_xyxy(boxes: Floats) -> Boxes:
    """Convert center and size cx cy w h to corners x1 y1 x2 y2."""
    half = boxes[..., 2:] / 2
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def encode(boxes: Boxes, anchors: Floats, variances: tuple[float, float, float, float]) -> Floats:
    """Encode boxes as offsets from anchors (SSD, eq. 2).

    Args:
        boxes: (N, 4) x1 y1 x2 y2, fractions of the image.
        anchors: (N, 4) cx cy w h, fractions of the image.
        variances: Scales of the offsets, `AnchorLayout.variances`.

    Returns:
        (N, 4) offsets; `decode` is the inverse.
    """
    boxes_cxcywh = xyxy_to_cxcywh(boxes)
    shift = (boxes_cxcywh[..., :2] - anchors[..., :2]) / anchors[..., 2:]
    log_scale = np.log(boxes_cxcywh[..., 2:] / anchors[..., 2:])
    return np.asarray(np.concatenate([shift, log_scale], -1) / np.asarray(variances, np.float32), np.float32)


def decode(offsets: Floats, anchors: Floats, variances: tuple[float, float, float, float]) -> Boxes:
    """Decode offsets (N, 4) from anchors (N, 4; cx cy w h) to boxes x1 y1 x2 y2 in the anchors' unit, not clipped."""
    scaled = offsets * np.asarray(variances, np.float32)
    center = anchors[..., :2] + scaled[..., :2] * anchors[..., 2:]
    size = anchors[..., 2:] * np.exp(scaled[..., 2:])
    return cxcywh_to_xyxy(np.concatenate([center, size], -1))
