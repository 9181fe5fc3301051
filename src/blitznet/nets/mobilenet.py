"""MobileNetV2 as SSDLite uses it, and its downscale stream.

Source: Sandler et al. 2018, sections 3 and 6.2, as TensorFlow implements it: SAME padding, ReLU6, batch norms with
epsilon 1e-3. Other light networks use the same blocks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.nets.blocks import init_trunc_normal_
from blitznet.nets.parts import Downscale, Encoder, Maps

EPSILON = 1e-3
"""of every batch norm: the value of TensorFlow, with which the pretrained weights were trained"""


class SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's SAME: h w become ceil(h / stride) ceil(w / stride).

    At stride 2 an even height or width is padded by one less at its start than at its end, so the padding depends on
    the size of the input.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        init_trunc_normal_(self, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, ceil(h / stride), ceil(w / stride))."""
        return self.convolve(x, self.weight, self.bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution with another kernel of the same shape, and a bias (D',)."""
        half = self.kernel_size[0] // 2
        if self.stride[0] == 2 and half:
            height, width = x.shape[2:]
            x = F.pad(x, (half - 1 + width % 2, half, half - 1 + height % 2, half))
        if self.training and self._is_slow_in_bfloat16(x):
            with torch.autocast(x.device.type, enabled=False):
                return F.conv2d(x.float(), weight.float(), bias, self.stride, self.padding, groups=self.groups)
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=self.groups)

    def _is_slow_in_bfloat16(self, x: Tensor) -> bool:
        """Whether the backward pass takes less time in float32: on CPUs, depthwise with stride 2 or a 5x5 kernel."""
        is_unusual = self.stride[0] == 2 or self.kernel_size[0] > 3
        return (
            self.groups > 1
            and is_unusual
            and x.device.type == "cpu"
            and self.weight.requires_grad
            and torch.is_autocast_enabled("cpu")
        )


class LiteConv(nn.Module):
    """SAME convolution, batch norm and an activation, by default ReLU6."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        self.conv = SameConv(in_channels, out_channels, kernel, stride, groups)
        self.norm = nn.BatchNorm2d(out_channels, eps=EPSILON)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', h', w')."""
        out: Tensor
        if self.training and (not self.norm.training or self._has_one_cell(x)):
            out = self.activation(self.conv.convolve(x, *self._folded()))
        else:
            out = self.activation(self.norm(self.conv(x)))
        return out

    def _has_one_cell(self, x: Tensor) -> bool:
        """Whether the output for maps (B, D, h, w) has one cell, which has no variance."""
        stride: int = self.conv.stride[0]
        return len(x) == 1 and max(x.shape[2:]) <= stride

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Kernel and bias with the frozen batch norm inside: one pass over the map less, forward and backward."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        assert mean is not None
        assert variance is not None
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        return self.conv.weight * scale[:, None, None, None], self.norm.bias - mean * scale

    @torch.no_grad()
    def fold(self) -> None:
        """Move the batch norm into the convolution, for a network that is not trained."""
        weight, bias = self._folded()
        self.conv.weight.copy_(weight)
        self.conv.bias = nn.Parameter(bias, requires_grad=False)
        self.norm = nn.Identity()  # type: ignore[assignment] # a folded layer is not trained


def depthwise(channels: int, kernel: int = 3, stride: int = 1) -> LiteConv:
    """Depthwise convolution, batch norm, ReLU6."""
    return LiteConv(channels, channels, kernel, stride=stride, groups=channels)


def linear(in_channels: int, out_channels: int) -> LiteConv:
    """1x1, batch norm, no activation."""
    return LiteConv(in_channels, out_channels, activation=nn.Identity)


def separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """Depthwise convolution, then 1x1 with ReLU."""
    return nn.Sequential(depthwise(in_channels), LiteConv(in_channels, out_channels, activation=nn.ReLU))


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise, 1x1 to fewer without activation; the input is added if shapes allow."""

    def __init__(
        self, in_channels: int, out_channels: int, *, expansion: int = 6, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.stride = stride
        self.residual = stride == 1 and in_channels == out_channels
        self.expand: nn.Module = LiteConv(in_channels, hidden) if expansion > 1 else nn.Identity()
        self.depthwise = depthwise(hidden, kernel, stride)
        self.project = linear(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', h', w')."""
        out = self.reduce(self.expand(x))
        return x + out if self.residual else out

    def reduce(self, expanded: Tensor) -> Tensor:
        """The block after its expansion, for an encoder that also returns the expansion."""
        out: Tensor = self.project(self.depthwise(expanded))
        return out


_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
"""channels, blocks, stride of the first block (Table 2 of the paper)"""


class MobileNetV2(Encoder):
    """(B, 3, S, S) -> maps at strides 4, 8, 16, 32.

    As in SSDLite the map at stride 16 is the expansion inside the block that reduces to stride 32, and the last map is
    the output of the final 1x1 convolution.
    """

    out_channels = (24, 32, 576, 1280)
    strides = (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = LiteConv(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(_blocks(32))
        self.last = LiteConv(320, 1280)

    def forward(self, images: Tensor) -> Maps:
        """The four maps, finest first, of images normalized to -1..1."""
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

    def stages(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The modules of each map. The map at stride 16 is inside a block; that block is in the last stage."""
        blocks = tuple(self.blocks)
        return (self.stem, *blocks[:3]), blocks[3:6], blocks[6:13], (*blocks[13:], self.last)


def _blocks(in_channels: int) -> list[InvertedResidual]:
    blocks = []
    for stage, (out_channels, count, stride) in enumerate(_STAGES):
        for index in range(count):
            blocks.append(
                InvertedResidual(
                    in_channels, out_channels, expansion=6 if stage else 1, stride=stride if index == 0 else 1
                )
            )
            in_channels = out_channels
    return blocks


class ExtraBlock(nn.Module):
    """One step of the downscale stream: 1x1 to fewer channels, depthwise at stride 2, 1x1 to more."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = LiteConv(in_channels, hidden_channels)
        self.depthwise = depthwise(hidden_channels, stride=2)
        self.project = LiteConv(hidden_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', ceil(h / 2), ceil(w / 2))."""
        out: Tensor = self.project(self.depthwise(self.reduce(x)))
        return out


class LiteDownscale(Downscale):
    """SSDLite's extra layers: ever coarser maps of 512, 256, 256 and then 128 channels after the encoder's."""

    def __init__(self, encoder: Encoder, extra_levels: int) -> None:
        super().__init__()
        own = (512, 256, 256, *(128,) * extra_levels)[:extra_levels]
        self.out_channels = (*encoder.out_channels, *own)
        stride = encoder.strides[-1]
        self.strides = encoder.strides + tuple(stride * 2 ** (level + 1) for level in range(extra_levels))
        sources = self.out_channels[len(encoder.out_channels) - 1 :]
        self.blocks = nn.ModuleList(
            ExtraBlock(source, out_channels // 2, out_channels)
            for source, out_channels in zip(sources, own, strict=False)
        )

    def forward(self, maps: Maps) -> Maps:
        """The encoder's maps, then the stream's own."""
        for block in self.blocks:
            maps = (*maps, block(maps[-1]))
        return maps
