"""Blocks that fuse a coarse map with a finer one: ResSkip and the alternatives of the paper's Table 8.

Each block takes `x`, the coarse map, and `skip`, the finer one. It returns the fused map and `h`: `x` resized to
`skip` and, in the deepest block, projected to the stream's channels. The pooled map is made of the deepest `h` in every
case. The paper only names the alternatives; their structure here is ours. The blocks exist once; `FusionLayers` makes
them of full convolutions (the paper's networks) or of depthwise-separable ones (the light networks).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from blitznet.core.spec import Fusion, Resize
from blitznet.nets.blocks import ConvNorm
from blitznet.nets.resize import resize_like

Fused: TypeAlias = tuple[Tensor, Tensor]
"""the fused map and h, both (B, D, h, w) at the skip's size"""


@dataclass(frozen=True, slots=True)
class FusionLayers:
    """The layers that fusion blocks are built of; channels in and out are the arguments."""

    bottleneck: Callable[[int, int, int], nn.Module]
    """1x1 to the hidden channels, 3x3, 1x1 without activation; (in, hidden, out)"""
    project: Callable[[int, int], nn.Module]
    """1x1 without activation; (in, out)"""
    conv3x3: Callable[[int, int], nn.Module]
    """3x3 with ReLU; (in, out)"""


class FusionBlock(nn.Module):
    """Base of all blocks: resizes x to the skip and projects it if its channels differ from the stream's."""

    def __init__(self, in_channels: int, out_channels: int, mode: Resize) -> None:
        super().__init__()
        self.resize_mode = mode
        # Without ReLU, since h is a term of a sum.
        same = in_channels == out_channels
        self.project = nn.Identity() if same else ConvNorm(in_channels, out_channels, 1, relu=False)

    def forward(self, x: Tensor, skip: Tensor) -> Fused:
        """The fused map and h."""
        resized = resize_like(x, skip, self.resize_mode)
        h: Tensor = self.project(resized)
        return self.fuse(resized, h, skip), h

    def fuse(self, resized: Tensor, h: Tensor, skip: Tensor) -> Tensor:
        """The fused map, from x resized, h and the skip."""
        raise NotImplementedError


class ResSkip(FusionBlock):
    """ReLU(h + bottleneck(concat[x, skip])), figure 3."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        *,
        out_channels: int,
        hidden_channels: int,
        mode: Resize,
        layers: FusionLayers,
    ) -> None:
        super().__init__(in_channels, out_channels, mode)
        self.residual = layers.bottleneck(in_channels + skip_channels, hidden_channels, out_channels)

    def fuse(self, resized: Tensor, h: Tensor, skip: Tensor) -> Tensor:
        """The sum of h and the residual."""
        residual: Tensor = self.residual(torch.cat([resized, skip], 1))
        return (h + residual).relu()


class ResSkipPlain(ResSkip):
    """ResSkip without its residual connection: ReLU(bottleneck(concat[x, skip]))."""

    def fuse(self, resized: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - h is only pooled
        """The bottleneck alone."""
        fused: Tensor = self.residual(torch.cat([resized, skip], 1))
        return fused.relu()


class Hourglass(FusionBlock):
    """ReLU(h + a residual unit of the skip), after Newell et al. 2016."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        *,
        out_channels: int,
        hidden_channels: int,
        mode: Resize,
        layers: FusionLayers,
    ) -> None:
        super().__init__(in_channels, out_channels, mode)
        self.residual = layers.bottleneck(skip_channels, hidden_channels, out_channels)
        same = skip_channels == out_channels
        self.shortcut = nn.Identity() if same else layers.project(skip_channels, out_channels)

    def fuse(self, resized: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - only its projection is summed
        """The sum of h and the skip's residual unit."""
        unit: Tensor = self.residual(skip) + self.shortcut(skip)
        return (h + unit).relu()


class Refine(FusionBlock):
    """3x3 of concat[x, 3x3 of the skip], after Pinheiro et al. 2016."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        *,
        out_channels: int,
        hidden_channels: int,  # noqa: ARG002 - it has no bottleneck
        mode: Resize,
        layers: FusionLayers,
    ) -> None:
        super().__init__(in_channels, out_channels, mode)
        self.adapt = layers.conv3x3(skip_channels, out_channels)
        self.merge = layers.conv3x3(in_channels + out_channels, out_channels)

    def fuse(self, resized: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - h is only pooled
        """The merged map."""
        merged: Tensor = self.merge(torch.cat([resized, self.adapt(skip)], 1))
        return merged


FUSIONS: dict[Fusion, type[ResSkip] | type[Hourglass] | type[Refine]] = {
    "resskip": ResSkip,
    "resskip-plain": ResSkipPlain,
    "hourglass": Hourglass,
    "refine": Refine,
}
"""the blocks by their name in a spec"""


def _bottleneck(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        ConvNorm(in_channels, hidden_channels, 1),
        ConvNorm(hidden_channels, hidden_channels, 3),
        ConvNorm(hidden_channels, out_channels, 1, relu=False),
    )


CONV_LAYERS = FusionLayers(
    bottleneck=_bottleneck,
    project=lambda in_channels, out_channels: ConvNorm(in_channels, out_channels, 1, relu=False),
    conv3x3=lambda in_channels, out_channels: ConvNorm(in_channels, out_channels, 3),
)
"""full convolutions: the paper's networks"""
