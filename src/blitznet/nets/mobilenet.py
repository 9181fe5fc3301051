"""MobileNetV2 as SSDLite uses it, and its downscale stream.

Source: Sandler et al. 2018, sections 3 and 6.2, in TensorFlow's form: SAME padding, ReLU6, norms with
epsilon 1e-3. Other light networks are built of the same pieces.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.nets.blocks import init_normal_
from blitznet.nets.parts import Downscale, Encoder, Maps

EPSILON = 1e-3
"""of every batch norm: TensorFlow's, which the weights were learned with"""


class SameConv(nn.Conv2d):
    """A convolution without bias whose output has ceil(side / stride) cells, padded as TensorFlow's SAME.

    At stride 2 an even side is padded by one less at its start than at its end, so the padding is a
    matter of the input's size.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        init_normal_(self, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, ceil(h / stride), ceil(w / stride))."""
        half = self.kernel_size[0] // 2
        if self.stride[0] == 2 and half:
            height, width = x.shape[2:]
            x = F.pad(x, (half - 1 + width % 2, half, half - 1 + height % 2, half))
        return super().forward(x)


class LiteConv(nn.Module):
    """SAME convolution, batch norm and an activation: ReLU6 unless another, or none, is wanted."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        self.conv = SameConv(inputs, outputs, kernel, stride, groups)
        self.norm = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', h', w')."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


def depthwise(channels: int, kernel: int = 3, stride: int = 1) -> LiteConv:
    """A convolution of each channel by itself, batch norm, ReLU6."""
    return LiteConv(channels, channels, kernel, stride=stride, groups=channels)


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise, 1x1 to few without activation; plus the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int = 6, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        inner = inputs * expansion
        self.stride = stride
        self.residual = stride == 1 and inputs == outputs
        self.expand: nn.Module = LiteConv(inputs, inner) if expansion > 1 else nn.Identity()
        self.depthwise = depthwise(inner, kernel, stride)
        self.project = LiteConv(inner, outputs, activation=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', h', w')."""
        out = self.reduce(self.expand(x))
        return x + out if self.residual else out

    def reduce(self, expanded: Tensor) -> Tensor:
        """The block's second half, for an encoder that taps the expansion."""
        out: Tensor = self.project(self.depthwise(expanded))
        return out


_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""channels, blocks, stride of the first block (Table 2 of the paper)"""


class MobileNetV2(Encoder):
    """(B, 3, S, S) -> maps at strides 4, 8, 16, 32.

    As in SSDLite the map at stride 16 is the expansion inside the block that goes on to stride 32, and
    the last one comes after the final 1x1 convolution.
    """

    channels = (24, 32, 576, 1280)
    strides = (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = LiteConv(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(_blocks(32))
        self.last = LiteConv(320, 1280)

    def forward(self, images: Tensor) -> Maps:
        """The four maps, finest first; pixels are expected in -1..1."""
        x, maps = self.stem(images), []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, InvertedResidual)
            if index == 13:
                expanded = block.expand(x)
                maps.append(expanded)
                x = block.reduce(expanded)
                continue
            x = block(x)
            if index in (2, 5):
                maps.append(x)
        return (*maps, self.last(x))


def _blocks(inputs: int) -> list[InvertedResidual]:
    blocks = []
    for index, (outputs, count, stride) in enumerate(_STAGES):
        for number in range(count):
            first = number == 0
            blocks.append(InvertedResidual(inputs, outputs, expansion=6 if index else 1, stride=stride if first else 1))
            inputs = outputs
    return blocks


class ExtraBlock(nn.Module):
    """One step of the downscale stream: 1x1 to fewer channels, depthwise at stride 2, 1x1 to more."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.reduce = LiteConv(inputs, inner)
        self.depthwise = depthwise(inner, stride=2)
        self.project = LiteConv(inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', ceil(h / 2), ceil(w / 2))."""
        out: Tensor = self.project(self.depthwise(self.reduce(x)))
        return out


class LiteDownscale(Downscale):
    """SSDLite's extra layers: up to four ever coarser maps of 512, 256, 256 and 128 channels after the encoder's."""

    def __init__(self, encoder: Encoder, extra: int) -> None:
        super().__init__()
        wide = (512, 256, 256, *(128,) * extra)[:extra]
        self.channels = (*encoder.channels, *wide)
        self.strides = encoder.strides + tuple(encoder.strides[-1] * 2 ** (k + 1) for k in range(extra))
        sources = self.channels[len(encoder.channels) - 1 :]
        self.blocks = nn.ModuleList(
            ExtraBlock(source, outputs // 2, outputs) for source, outputs in zip(sources, wide, strict=False)
        )

    def forward(self, maps: Maps) -> Maps:
        """The encoder's maps and the stream's own after them."""
        for block in self.blocks:
            maps = (*maps, block(maps[-1]))
        return maps
