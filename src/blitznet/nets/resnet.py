"""ResNet-18/34/50/101 (He et al. 2016), in torchvision's layout and in Caffe's.

Names of the weights are torchvision's, so its state dicts load. The layouts differ in two places. Caffe's strided
bottleneck has its stride in the first 1x1, and its max-pool is padded as TensorFlow's SAME (at the end, if the height
or width is even). Torchvision's has its stride in the 3x3, and pads by one on each border.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.nets.blocks import convolution
from blitznet.nets.parts import Encoder, Maps

Layout = Literal["caffe", "torchvision"]


class BasicBlock(nn.Module):
    """Two 3x3 and a shortcut: the unit of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, in_channels: int, hidden_channels: int, stride: int, layout: Layout) -> None:  # noqa: ARG002
        super().__init__()
        self.conv1 = convolution(in_channels, hidden_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(hidden_channels)
        self.conv2 = convolution(hidden_channels, hidden_channels, 3)
        self.bn2 = nn.BatchNorm2d(hidden_channels)
        self.downsample = _shortcut(in_channels, hidden_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, hidden_channels, ceil(h / stride), ceil(w / stride))."""
        residual: Tensor = self.bn1(self.conv1(x)).relu()
        residual = self.bn2(self.conv2(residual))
        shortcut: Tensor = self.downsample(x)
        return (shortcut + residual).relu()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut: the unit of ResNet-50, 101 and of the paper's downscale stream."""

    expansion = 4

    def __init__(self, in_channels: int, hidden_channels: int, stride: int, layout: Layout) -> None:
        super().__init__()
        first, second = (stride, 1) if layout == "caffe" else (1, stride)
        self.conv1 = convolution(in_channels, hidden_channels, 1, first)
        self.bn1 = nn.BatchNorm2d(hidden_channels)
        self.conv2 = convolution(hidden_channels, hidden_channels, 3, second)
        self.bn2 = nn.BatchNorm2d(hidden_channels)
        self.conv3 = convolution(hidden_channels, hidden_channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(hidden_channels * self.expansion)
        self.downsample = _shortcut(in_channels, hidden_channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, 4 hidden_channels, ceil(h / stride), ceil(w / stride))."""
        residual: Tensor = self.bn1(self.conv1(x)).relu()
        residual = self.bn2(self.conv2(residual)).relu()
        residual = self.bn3(self.conv3(residual))
        shortcut: Tensor = self.downsample(x)
        return (shortcut + residual).relu()


class Subsample(nn.Module):
    """Every stride-th cell: the shortcut of a strided unit with as many channels out as in."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, ceil(h / stride), ceil(w / stride))."""
        return x[..., :: self.stride, :: self.stride]


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    if in_channels != out_channels:
        return nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
    return nn.Identity() if stride == 1 else Subsample(stride)


Unit = type[BasicBlock] | type[Bottleneck]


def stage(
    unit: Unit, in_channels: int, hidden_channels: int, *, depth: int, stride: int, layout: Layout
) -> nn.Sequential:
    """A sequence of `depth` units, the first with the stride."""
    channels = hidden_channels * unit.expansion
    later = [unit(channels, hidden_channels, 1, layout) for _ in range(depth - 1)]
    return nn.Sequential(unit(in_channels, hidden_channels, stride, layout), *later)


class ResNet(Encoder):
    """A ResNet without its classifier: maps at strides 4, 8, 16 and 32."""

    strides = (4, 8, 16, 32)

    def __init__(self, unit: Unit, depths: tuple[int, int, int, int], layout: Layout = "torchvision") -> None:
        super().__init__()
        self.layout = layout
        self.out_channels = tuple(hidden * unit.expansion for hidden in (64, 128, 256, 512))
        self.conv1 = convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(unit, 64, 64, depth=depths[0], stride=1, layout=layout)
        self.layer2 = stage(unit, self.out_channels[0], 128, depth=depths[1], stride=2, layout=layout)
        self.layer3 = stage(unit, self.out_channels[1], 256, depth=depths[2], stride=2, layout=layout)
        self.layer4 = stage(unit, self.out_channels[2], 512, depth=depths[3], stride=2, layout=layout)

    def forward(self, images: Tensor) -> Maps:
        """(B, 3, H, W) -> the outputs of the four stages."""
        x = self._pool(self.bn1(self.conv1(images)).relu())
        block1 = self.layer1(x)
        block2 = self.layer2(block1)
        block3 = self.layer3(block2)
        block4 = self.layer4(block3)
        return block1, block2, block3, block4

    def stages(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The four layers; the first stage includes the convolution before them."""
        return (self.conv1, self.bn1, self.layer1), (self.layer2,), (self.layer3,), (self.layer4,)

    def _pool(self, x: Tensor) -> Tensor:
        if self.layout == "torchvision":
            return F.max_pool2d(x, 3, 2, padding=1)
        # SAME pads an even length by one at its end, an odd one by one at both ends. After ReLU, zeros are equivalent
        # to -inf.
        height, width = x.shape[-2:]
        return F.max_pool2d(F.pad(x, (width % 2, 1, height % 2, 1)), 3, 2)
