"""The upscale stream: from the coarsest map back to the finest that predicts (paper 3.3)."""

from collections.abc import Sequence

from torch import nn

from blitznet.core.spec import Network
from blitznet.nets.fusion import FUSIONS
from blitznet.nets.parts import Maps, Upscale


class UpscaleStream(Upscale):
    """Joins the last map with the one before it, the result with the one before that, and so on.

    The last `len(channels)` maps are used: all but the coarsest are skips, and each gives one map.
    The pooled map is the spatial mean of the deepest block's h.
    """

    def __init__(self, channels: Sequence[int], network: Network) -> None:
        super().__init__()
        *skips, deepest = channels
        wide, block = network.channels, FUSIONS[network.fusion]
        self.channels = (wide,) * (len(skips) + 1)
        # Finest first, like the maps; they run from the last to the first.
        self.blocks = nn.ModuleList(
            block(
                deepest if k == len(skips) - 1 else wide,
                skip,
                wide=wide,
                inner=network.hidden_channels,
                how=network.fusion_resize,
            )
            for k, skip in enumerate(skips)
        )

    def forward(self, maps: Maps) -> Maps:
        """One map for each skip, finest first, and the pooled one (B, D, 1, 1)."""
        skips, x = maps[-len(self.blocks) - 1 : -1], maps[-1]
        joined = []
        through = []
        for block, skip in zip(reversed(self.blocks), reversed(skips), strict=True):
            x, h = block(x, skip)
            joined.append(x)
            through.append(h)
        return (*reversed(joined), through[0].mean((-2, -1), keepdim=True))


class NoUpscale(Upscale):
    """The baseline's: the last maps as they are, and the spatial mean of the coarsest (SSD)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = (*channels, channels[-1])

    def forward(self, maps: Maps) -> Maps:
        """The maps that predict, finest first, and the pooled one (B, D, 1, 1)."""
        kept = maps[1 - len(self.channels) :]
        return (*kept, kept[-1].mean((-2, -1), keepdim=True))
