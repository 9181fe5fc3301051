"""Resizing a map, in the three ways a network may be told to."""

import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.spec import Resize


def resize(x: Tensor, size: tuple[int, int], how: Resize) -> Tensor:
    """(B, D, h, w) -> (B, D, *size).

    bilinear: half-pixel centres; legacy: TensorFlow 1's bilinear, source = target * in / out, for
    weights that were trained with it; nearest: source = floor(target * in / out).
    """
    if x.shape[-2:] == size:
        return x
    if how == "legacy":
        return _stretch(_stretch(x, -2, size[0]), -1, size[1])
    if how == "nearest":
        return F.interpolate(x, size, mode="nearest")
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _stretch(x: Tensor, axis: int, side: int) -> Tensor:
    count = x.shape[axis]
    source = torch.arange(side, device=x.device, dtype=torch.float32) * (count / side)
    low = source.floor().long()
    high = (low + 1).clamp(max=count - 1)
    share = (source - low).to(x.dtype).view(-1, *(1,) * (-1 - axis))
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), share)
