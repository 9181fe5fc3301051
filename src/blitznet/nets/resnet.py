"""ResNet-18/34/50/101 (He et al. 2016), in torchvision's layout and in Caffe's.

Names of the weights are torchvision's, so its state dicts load. The layouts differ in two places:
Caffe's strided bottleneck strides in its first 1x1 and its max-pool is TensorFlow's SAME (padded at
the end when the side is even); torchvision strides in the 3x3 and pads by one on each side.
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

    def __init__(self, wide_in: int, mid: int, stride: int, layout: Layout) -> None:  # noqa: ARG002 - one layout only
        super().__init__()
        self.conv1 = convolution(wide_in, mid, 3, stride)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = convolution(mid, mid, 3)
        self.bn2 = nn.BatchNorm2d(mid)
        self.downsample = _shortcut(wide_in, mid, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, mid, ceil(h / stride), ceil(w / stride))."""
        residual: Tensor = self.bn1(self.conv1(x)).relu()
        residual = self.bn2(self.conv2(residual))
        shortcut: Tensor = self.downsample(x)
        return (shortcut + residual).relu()


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a shortcut: the unit of ResNet-50, 101 and of the paper's downscale stream."""

    expansion = 4

    def __init__(self, wide_in: int, mid: int, stride: int, layout: Layout) -> None:
        super().__init__()
        first, second = (stride, 1) if layout == "caffe" else (1, stride)
        self.conv1 = convolution(wide_in, mid, 1, first)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = convolution(mid, mid, 3, second)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = convolution(mid, mid * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(mid * self.expansion)
        self.downsample = _shortcut(wide_in, mid * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, 4 mid, ceil(h / stride), ceil(w / stride))."""
        residual: Tensor = self.bn1(self.conv1(x)).relu()
        residual = self.bn2(self.conv2(residual)).relu()
        residual = self.bn3(self.conv3(residual))
        shortcut: Tensor = self.downsample(x)
        return (shortcut + residual).relu()


class Subsample(nn.Module):
    """Every stride-th cell: the shortcut of a strided unit that keeps its width."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, ceil(h / stride), ceil(w / stride))."""
        return x[..., :: self.stride, :: self.stride]


def _shortcut(wide_in: int, wide_out: int, stride: int) -> nn.Module:
    if wide_in != wide_out:
        return nn.Sequential(convolution(wide_in, wide_out, 1, stride), nn.BatchNorm2d(wide_out))
    return nn.Identity() if stride == 1 else Subsample(stride)


Unit = type[BasicBlock] | type[Bottleneck]


def stage(unit: Unit, wide_in: int, mid: int, *, depth: int, stride: int, layout: Layout) -> nn.Sequential:
    """`depth` units in a row, the first one strided."""
    wide = mid * unit.expansion
    later = [unit(wide, mid, 1, layout) for _ in range(depth - 1)]
    return nn.Sequential(unit(wide_in, mid, stride, layout), *later)


class ResNet(Encoder):
    """The residual trunk without its classifier: maps at strides 4, 8, 16 and 32."""

    strides = (4, 8, 16, 32)

    def __init__(self, unit: Unit, depths: tuple[int, int, int, int], layout: Layout = "torchvision") -> None:
        super().__init__()
        self.layout = layout
        self.channels = tuple(mid * unit.expansion for mid in (64, 128, 256, 512))
        self.conv1 = convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(unit, 64, 64, depth=depths[0], stride=1, layout=layout)
        self.layer2 = stage(unit, self.channels[0], 128, depth=depths[1], stride=2, layout=layout)
        self.layer3 = stage(unit, self.channels[1], 256, depth=depths[2], stride=2, layout=layout)
        self.layer4 = stage(unit, self.channels[2], 512, depth=depths[3], stride=2, layout=layout)

    def forward(self, images: Tensor) -> Maps:
        """(B, 3, H, W) -> block1..block4."""
        x = self._pool(self.bn1(self.conv1(images)).relu())
        block1 = self.layer1(x)
        block2 = self.layer2(block1)
        block3 = self.layer3(block2)
        block4 = self.layer4(block3)
        return block1, block2, block3, block4

    def _pool(self, x: Tensor) -> Tensor:
        if self.layout == "torchvision":
            return F.max_pool2d(x, 3, 2, padding=1)
        # SAME pads an even side by one at its end, an odd one by one at both; after ReLU zeros pad as well as -inf.
        height, width = x.shape[-2:]
        return F.max_pool2d(F.pad(x, (width % 2, 1, height % 2, 1)), 3, 2)
