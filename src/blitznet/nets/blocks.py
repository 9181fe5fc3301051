"""Convolutions with batch norm for encoders and streams, and their initialization (paper 3.1; He et al. 2015)."""

import math

from torch import Tensor, nn

_TRUNCATED_STD = 0.87962566103423978
"""standard deviation of a standard normal truncated at two standard deviations"""


def init_trunc_normal_(conv: nn.Conv2d, gain: float) -> None:
    """Draw the kernel from a truncated normal of standard deviation sqrt(gain / fan_in); set the bias to 0."""
    fan_in = conv.weight[0].numel()
    std = math.sqrt(gain / fan_in) / _TRUNCATED_STD
    nn.init.trunc_normal_(conv.weight, std=std, a=-2 * std, b=2 * std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_xavier_(conv: nn.Conv2d) -> None:
    """Draw the kernel from Xavier's uniform distribution; set the bias to 0."""
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Convolution without bias, padded by half its kernel: h w become ceil(h / stride) ceil(w / stride)."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    init_trunc_normal_(conv, 2.0)
    return conv


class ConvNorm(nn.Module):
    """Convolution, batch norm and, by default, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, relu: bool = True) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, kernel)
        self.norm = nn.BatchNorm2d(out_channels)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D', h, w)."""
        x = self.norm(self.conv(x))
        return x.relu() if self.relu else x
