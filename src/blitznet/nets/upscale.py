"""The upscale stream: from the coarsest map back to the finest that the heads read (paper 3.3)."""

from collections.abc import Sequence

from torch import nn

from blitznet.core.spec import Network
from blitznet.nets.fusion import CONV_LAYERS, FUSIONS, FusionLayers
from blitznet.nets.parts import Maps, Upscale


class UpscaleStream(Upscale):
    """Fuses the last map with the one before it, the result with the one before that, and so on.

    It uses the last `len(in_channels)` maps. All but the coarsest are skips, and each yields one map. The pooled map
    is the spatial mean of the deepest block's h.
    """

    def __init__(self, in_channels: Sequence[int], network: Network, layers: FusionLayers = CONV_LAYERS) -> None:
        """Args: channels of the maps that it uses, finest first; the network's description; the blocks' layers."""
        super().__init__()
        *skips, deepest = in_channels
        self.out_channels = (network.channels,) * len(in_channels)
        sources = (*(network.channels,) * (len(skips) - 1), deepest)
        block = FUSIONS[network.fusion]
        # Finest first, like the maps; forward runs them from the last to the first.
        self.blocks = nn.ModuleList(
            block(
                source,
                skip,
                out_channels=network.channels,
                hidden_channels=network.hidden_channels,
                mode=network.fusion_resize,
                layers=layers,
            )
            for source, skip in zip(sources, skips, strict=True)
        )

    def forward(self, maps: Maps) -> Maps:
        """One map for each skip, finest first, and the pooled one (B, D, 1, 1)."""
        skips, x = maps[-len(self.blocks) - 1 : -1], maps[-1]
        fused = []
        projected = []
        for block, skip in zip(reversed(self.blocks), reversed(skips), strict=True):
            x, h = block(x, skip)
            fused.append(x)
            projected.append(h)
        return (*reversed(fused), projected[0].mean((-2, -1), keepdim=True))


class NoUpscale(Upscale):
    """The baseline's (SSD): the last maps unchanged, and the spatial mean of the coarsest."""

    def __init__(self, in_channels: Sequence[int]) -> None:
        super().__init__()
        self.out_channels = (*in_channels, in_channels[-1])

    def forward(self, maps: Maps) -> Maps:
        """The maps that the heads read, finest first, and the pooled one (B, D, 1, 1)."""
        used = maps[1 - len(self.out_channels) :]
        return (*used, used[-1].mean((-2, -1), keepdim=True))
