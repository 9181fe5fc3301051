"""Resizing of feature maps, in the three modes that a spec can select."""

import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.spec import Resize


def resize(x: Tensor, size: tuple[int, int], mode: Resize) -> Tensor:
    """Resize maps.

    Args:
        x: Maps (B, D, h, w).
        size: (height, width) of the output, cells.
        mode: `bilinear` interpolates between half-pixel centers. `legacy` is TensorFlow 1's bilinear,
            source = target * in / out, for weights that were trained with it. `nearest` takes
            source = floor(target * in / out).

    Returns:
        Maps (B, D, *size); `x` itself if it has that size.
    """
    if x.shape[-2:] == size:
        return x
    if mode == "legacy":
        return _interpolate_axis(_interpolate_axis(x, -2, size[0]), -1, size[1])
    if mode == "nearest":
        return F.interpolate(x, size, mode="nearest")
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def resize_like(x: Tensor, reference: Tensor, mode: Resize) -> Tensor:
    """Resize maps (B, D, h, w) to the height and width of other maps."""
    return resize(x, (reference.shape[-2], reference.shape[-1]), mode)


def _interpolate_axis(x: Tensor, axis: int, length: int) -> Tensor:
    """Linear interpolation along one axis, without half-pixel centers."""
    count = x.shape[axis]
    source = torch.arange(length, device=x.device, dtype=torch.float32) * (count / length)
    low = source.floor().long()
    high = (low + 1).clamp(max=count - 1)
    weight = (source - low).to(x.dtype).view(-1, *(1,) * (-1 - axis))
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)
