"""Box geometry in torch, with few temporary tensors; a test compares it to the numpy reference in core/boxes.py."""

import torch
from torch import Tensor

_STRIP_VALUES = 1 << 18
"""values that a CPU computes at once: they fit its cache, and thousands of boxes need no temporary of their size"""


def to_corners(boxes: Tensor) -> Tensor:
    """(N, 4) cx cy w h -> x1 y1 x2 y2."""
    half = boxes[:, 2:] / 2
    return torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def area(boxes: Tensor) -> Tensor:
    """Area (N,) of x1 y1 x2 y2 boxes; 0 for an inverted box."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection (N, M) of a (N, 4) with b (M, 4), x1 y1 x2 y2."""
    ax1, ay1, ax2, ay2 = a[:, None].unbind(2)  # (N, 1) each
    bx1, by1, bx2, by2 = b.T.contiguous().unbind(0)  # (M,) each, contiguous
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection over union (N, M) in continuous coordinates; 0 if both boxes are empty."""
    ious, areas = a.new_empty(len(a), len(b)), area(b)
    rows = max(1, _STRIP_VALUES // max(1, len(b))) if a.device.type == "cpu" else max(1, len(a))
    for first in range(0, len(a), rows):
        strip = slice(first, first + rows)
        inter = intersection(a[strip], b)
        union = (area(a[strip])[:, None] + areas).sub_(inter)
        torch.div(inter, union.clamp_(min=torch.finfo(union.dtype).tiny), out=ious[strip])
    return ious


def encode(boxes: Tensor, anchors: Tensor, variances: tuple[float, float, float, float]) -> Tensor:
    """Offsets (N, 4) from anchors (N, 4; cx cy w h) to boxes (N, 4; x1 y1 x2 y2). SSD, eq. 2."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    shift = (center - anchors[:, :2]) / anchors[:, 2:]
    log_scale = ((boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:]).log()
    return torch.cat([shift, log_scale], 1) / boxes.new_tensor(variances)


def decode(offsets: Tensor, anchors: Tensor, variances: tuple[float, float, float, float]) -> Tensor:
    """Boxes (N, 4; x1 y1 x2 y2) from offsets (N, 4) and anchors (N, 4; cx cy w h), not clipped; inverts `encode`."""
    scaled = offsets * offsets.new_tensor(variances)
    center = anchors[:, :2] + scaled[:, :2] * anchors[:, 2:]
    return to_corners(torch.cat([center, anchors[:, 2:] * scaled[:, 2:].exp()], 1))


def cells_inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) bool: the cells of a map of `size` (h, w) whose centers are in each box, x1 y1 x2 y2 as fractions."""
    x1, y1, x2, y2 = boxes[:, :, None].unbind(1)  # (N, 1) each
    y, x = ((torch.arange(count, device=boxes.device) + 0.5) / count for count in size)
    return ((y >= y1) & (y <= y2))[:, :, None] & ((x >= x1) & (x <= x2))[:, None]
