"""MobileNetV2: its shapes, its padding, and its layers in training."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.nets.mobilenet import LiteConv, LiteDownscale, MobileNetV2, SameConv, depthwise, linear


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


def frozen(layer: LiteConv) -> LiteConv:
    """The layer in training mode with a frozen batch norm that has statistics."""
    torch.manual_seed(1)
    for value in (layer.norm.running_mean, layer.norm.weight.data, layer.norm.bias.data):
        assert value is not None
        nn.init.normal_(value)
    assert layer.norm.running_var is not None
    nn.init.uniform_(layer.norm.running_var, 0.2, 3.0)
    layer.train().norm.eval()
    return layer


@pytest.mark.parametrize(
    "layer",
    [LiteConv(6, 8, 3, stride=2), LiteConv(6, 8), linear(6, 4), depthwise(6), depthwise(6, 5, 2)],
    ids=["3x3", "1x1", "linear", "depthwise", "strided 5x5"],
)
def test_a_folded_batch_norm_computes_the_same(layer: LiteConv) -> None:
    layer = frozen(layer)
    reference = deepcopy(layer)
    x = torch.randn(2, 6, 9, 12, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    out: Tensor = layer(x)
    expected: Tensor = reference.activation(reference.norm(reference.conv(y)))
    torch.testing.assert_close(out, expected)
    weights = torch.randn_like(out)
    (out * weights).sum().backward()  # type: ignore[no-untyped-call]
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, y.grad)
    for (name, parameter), reference_parameter in zip(layer.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference_parameter.grad, rtol=1e-4, atol=1e-4, msg=name)


def test_folding_keeps_the_running_statistics() -> None:
    layer = frozen(LiteConv(6, 8))
    before = {name: value.clone() for name, value in layer.norm.state_dict().items()}
    layer(torch.randn(2, 6, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in layer.norm.state_dict().items())


@pytest.mark.parametrize(
    ("conv", "expected"),
    [
        (SameConv(4, 4, 3, 2, groups=4), torch.float32),
        (SameConv(4, 4, 5, 1, groups=4), torch.float32),
        (SameConv(4, 4, 3, 1, groups=4), torch.bfloat16),
        (SameConv(4, 4, 3, 2), torch.bfloat16),
    ],
    ids=["strided depthwise", "depthwise 5x5", "depthwise", "strided"],
)
def test_convolutions_that_are_slow_in_bfloat16_train_in_float32(conv: SameConv, expected: torch.dtype) -> None:
    x = torch.rand(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out: Tensor = conv.train()(x)
        assert out.dtype == expected
        assert conv.eval()(x).dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), conv(x), rtol=0.02, atol=0.02)
    out.float().sum().backward()  # type: ignore[no-untyped-call]
    assert conv.weight.grad is not None
    assert conv.weight.grad.dtype == torch.float32
