"""The blocks that join a coarse map with a finer one: ResSkip and the rivals of the paper's Table 8.

Each takes x (the coarse map) and skip (the finer one), and gives the joined map and h: x at the
skip's size and, in the deepest block, projected to the stream's width. Of the deepest h the pooled
map is made, whatever the block. The paper names the rivals only; how they are built is ours.
"""

from typing import TypeAlias

import torch
from torch import Tensor, nn

from blitznet.core.spec import Fusion, Resize
from blitznet.nets.blocks import ConvNorm
from blitznet.nets.resize import resize

Joined: TypeAlias = tuple[Tensor, Tensor]
"""the joined map and h, both (B, D, h, w) at the skip's size"""


class FusionBlock(nn.Module):
    """What all four share: x is resized to the skip, and projected where its width is another."""

    def __init__(self, wide_x: int, wide: int, how: Resize) -> None:
        super().__init__()
        self.how = how
        # No ReLU: h is one side of a sum.
        self.project = nn.Identity() if wide_x == wide else ConvNorm(wide_x, wide, 1, relu=False)

    def forward(self, x: Tensor, skip: Tensor) -> Joined:
        """The joined map and h."""
        u = resize(x, (skip.shape[-2], skip.shape[-1]), self.how)
        h: Tensor = self.project(u)
        return self.fuse(u, h, skip), h

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:
        """The joined map: u is x resized, h is u projected."""
        raise NotImplementedError


class ResSkip(FusionBlock):
    """ReLU(h + bottleneck(concat[u, skip])), figure 3."""

    def __init__(self, wide_x: int, wide_skip: int, *, wide: int, inner: int, how: Resize) -> None:
        super().__init__(wide_x, wide, how)
        self.residual = _bottleneck(wide_x + wide_skip, inner, wide)

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:
        """The sum of h and the residual."""
        residual: Tensor = self.residual(torch.cat([u, skip], 1))
        return (h + residual).relu()


class ResSkipPlain(ResSkip):
    """ResSkip without its residual connection: ReLU(bottleneck(concat[u, skip]))."""

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - h is only pooled
        """The bottleneck alone."""
        joined: Tensor = self.residual(torch.cat([u, skip], 1))
        return joined.relu()


class Hourglass(FusionBlock):
    """ReLU(h + a residual unit of the skip), after Newell et al. 2016."""

    def __init__(self, wide_x: int, wide_skip: int, *, wide: int, inner: int, how: Resize) -> None:
        super().__init__(wide_x, wide, how)
        self.residual = _bottleneck(wide_skip, inner, wide)
        self.shortcut = nn.Identity() if wide_skip == wide else ConvNorm(wide_skip, wide, 1, relu=False)

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - only its projection is summed
        """The sum of h and the skip's unit."""
        unit: Tensor = self.residual(skip) + self.shortcut(skip)
        return (h + unit).relu()


class Refine(FusionBlock):
    """3x3 of concat[u, 3x3 of the skip], after Pinheiro et al. 2016."""

    def __init__(self, wide_x: int, wide_skip: int, *, wide: int, inner: int, how: Resize) -> None:  # noqa: ARG002
        super().__init__(wide_x, wide, how)
        self.adapt = ConvNorm(wide_skip, wide, 3)
        self.merge = ConvNorm(wide_x + wide, wide, 3)

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - h is only pooled
        """The merged map."""
        merged: Tensor = self.merge(torch.cat([u, self.adapt(skip)], 1))
        return merged


def _bottleneck(wide_in: int, inner: int, wide: int) -> nn.Sequential:
    return nn.Sequential(ConvNorm(wide_in, inner, 1), ConvNorm(inner, inner, 3), ConvNorm(inner, wide, 1, relu=False))


FUSIONS: dict[Fusion, type[ResSkip] | type[Hourglass] | type[Refine]] = {
    "resskip": ResSkip,
    "resskip-plain": ResSkipPlain,
    "hourglass": Hourglass,
    "refine": Refine,
}
