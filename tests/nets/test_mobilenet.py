"""MobileNetV2: its shapes and its padding."""

import pytest
import torch
import torch.nn.functional as F

from blitznet.nets.mobilenet import LiteDownscale, MobileNetV2, SameConv


def slow_same_convolution(x: torch.Tensor, kernel: torch.Tensor, stride: int) -> torch.Tensor:
    """TensorFlow's rule: cell i reads the window that starts at i * stride - low."""
    side = kernel.shape[-1]
    starts = []
    for length in x.shape[2:]:
        cells = -(-length // stride)
        low = max((cells - 1) * stride + side - length, 0) // 2
        starts.append([cell * stride - low for cell in range(cells)])
    padded = F.pad(x, (side, 2 * side, side, 2 * side))
    rows = [
        torch.stack(
            [(padded[..., r + side : r + 2 * side, c + side : c + 2 * side] * kernel).sum((1, 2, 3)) for c in starts[1]]
        )
        for r in starts[0]
    ]
    return torch.stack(rows).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 6), (8, 8), (7, 9), (10, 3)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_same_padding(size: tuple[int, int], kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = SameConv(2, 1, kernel, stride)
    x = torch.randn(3, 2, *size)
    expected = slow_same_convolution(x, conv.weight.detach(), stride)
    torch.testing.assert_close(conv(x)[:, 0].detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "map_sizes"),
    [
        ((300, 300), [(75, 75), (38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (2, 2)]),
        ((161, 96), [(41, 24), (21, 12), (11, 6), (6, 3), (3, 2), (2, 1), (1, 1)]),
    ],
)
def test_maps_have_the_documented_sizes(size: tuple[int, int], map_sizes: list[tuple[int, int]]) -> None:
    encoder = MobileNetV2().eval()
    downscale = LiteDownscale(encoder, 3).eval()
    with torch.inference_mode():
        maps = downscale(encoder(torch.zeros(1, 3, *size)))
    assert [tuple(x.shape[2:]) for x in maps] == map_sizes
    assert tuple(x.shape[1] for x in maps) == downscale.out_channels == (24, 32, 576, 1280, 512, 256, 256)
    assert downscale.strides == (4, 8, 16, 32, 64, 128, 256)
    assert encoder.out_channels == downscale.out_channels[:4]


def test_parameters_are_those_of_torchvision() -> None:
    encoder = MobileNetV2()
    assert sum(p.numel() for p in encoder.parameters()) == 2_223_872  # torchvision's without its classifier
