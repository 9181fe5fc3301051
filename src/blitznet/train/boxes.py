"""Geometry of boxes in torch: the twin of core/boxes.py, one pass over as little memory as may be."""

import torch
from torch import Tensor


def to_corners(centre: Tensor) -> Tensor:
    """(N, 4) cx cy w h -> x1 y1 x2 y2."""
    half = centre[:, 2:] / 2
    return torch.cat([centre[:, :2] - half, centre[:, :2] + half], 1)


def area(boxes: Tensor) -> Tensor:
    """Area (N,) of x1 y1 x2 y2 boxes; an inverted box has none."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection (N, M) of a (N, 4) with b (M, 4), x1 y1 x2 y2."""
    ax1, ay1, ax2, ay2 = a[:, None].unbind(2)  # (N, 1) each
    bx1, by1, bx2, by2 = b.T.contiguous().unbind(0)  # (M,) each, side by side in memory
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).clamp_(min=0)
    return width.mul_(height)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise intersection over union (N, M), continuous coordinates; 0 where both are empty."""
    inter = intersection(a, b)
    union = (area(a)[:, None] + area(b)).sub_(inter)
    return inter.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def encode(boxes: Tensor, anchors: Tensor, variances: tuple[float, float, float, float]) -> Tensor:
    """Offsets (N, 4) that carry anchors (N, 4; cx cy w h) onto boxes (N, 4; x1 y1 x2 y2). SSD, eq. 2."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    shift = (centre - anchors[:, :2]) / anchors[:, 2:]
    stretch = ((boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:]).log()
    return torch.cat([shift, stretch], 1) / boxes.new_tensor(variances)
