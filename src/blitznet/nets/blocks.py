"""Blocks that encoders and streams are made of, and how their weights begin (paper 3.1; He et al. 2015)."""

import math

from torch import Tensor, nn

# A normal cut at two deviations has 0.8796 of its deviation left: make up for it.
_KEPT = 0.87962566103423978


def init_normal_(conv: nn.Conv2d, gain: float) -> None:
    """Draw the kernel from a cut normal whose effective deviation is sqrt(gain / fan_in); bias 0."""
    fan_in = conv.weight[0].numel()
    std = math.sqrt(gain / fan_in) / _KEPT
    nn.init.trunc_normal_(conv.weight, std=std, a=-2 * std, b=2 * std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_xavier_(conv: nn.Conv2d) -> None:
    """Draw the kernel from Xavier's uniform; bias 0."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution without bias, padded by half its kernel: a side becomes ceil(side / stride)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    init_normal_(conv, 2.0)
    return conv


class ConvNorm(nn.Module):
    """Convolution, batch norm and, unless told otherwise, ReLU."""

    def __init__(self, wide_in: int, wide_out: int, kernel: int, *, relu: bool = True) -> None:
        super().__init__()
        self.conv = convolution(wide_in, wide_out, kernel)
        self.norm = nn.BatchNorm2d(wide_out)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', h, w)."""
        x = self.norm(self.conv(x))
        return x.relu() if self.relu else x
