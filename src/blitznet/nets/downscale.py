"""The downscale stream: the encoder's maps, then ever coarser ones (paper 3.2)."""

from torch import nn

from blitznet.nets.parts import Downscale, Encoder, Maps
from blitznet.nets.resnet import Bottleneck, stage


class DownscaleStream(Downscale):
    """`extra_levels` blocks of two bottlenecks; each halves the map and keeps the encoder's channels.

    The paper states 512 channels. The original implementation has 2048 with 512 hidden ones, and so has this stream
    on a ResNet-50.
    """

    def __init__(self, encoder: Encoder, extra_levels: int) -> None:
        super().__init__()
        channels, stride = encoder.out_channels[-1], encoder.strides[-1]
        self.out_channels = encoder.out_channels + (channels,) * extra_levels
        self.strides = encoder.strides + tuple(stride * 2 ** (level + 1) for level in range(extra_levels))
        self.blocks = nn.ModuleList(
            stage(Bottleneck, channels, channels // Bottleneck.expansion, depth=2, stride=2, layout="caffe")
            for _ in range(extra_levels)
        )

    def forward(self, maps: Maps) -> Maps:
        """The encoder's maps, then `extra_levels` coarser ones."""
        coarser = [maps[-1]]
        for block in self.blocks:
            coarser.append(block(coarser[-1]))
        return (*maps, *coarser[1:])
