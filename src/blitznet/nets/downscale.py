"""The downscale stream: the encoder's maps, and ever coarser ones after them (paper 3.2)."""

from torch import nn

from blitznet.nets.parts import Downscale, Encoder, Maps
from blitznet.nets.resnet import Bottleneck, stage


class DownscaleStream(Downscale):
    """`extra` blocks of two bottlenecks, each halving the map and keeping the encoder's width.

    The paper says 512 wide; the release is 2048 wide with 512 inside, and so is this on a ResNet-50.
    """

    def __init__(self, encoder: Encoder, extra: int) -> None:
        super().__init__()
        wide = encoder.channels[-1]
        self.channels = encoder.channels + (wide,) * extra
        self.strides = encoder.strides + tuple(encoder.strides[-1] * 2 ** (k + 1) for k in range(extra))
        self.blocks = nn.ModuleList(
            stage(Bottleneck, wide, wide // Bottleneck.expansion, depth=2, stride=2, layout="caffe")
            for _ in range(extra)
        )

    def forward(self, maps: Maps) -> Maps:
        """The encoder's maps and `extra` more."""
        coarser = [maps[-1]]
        for block in self.blocks:
            coarser.append(block(coarser[-1]))
        return (*maps, *coarser[1:])
