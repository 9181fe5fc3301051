from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from blitznet.core.spec import Fusion, Resize
from blitznet.nets.blocks import ConvNorm
from blitznet.nets.fusion import CONV_LAYERS, FUSIONS, FusionBlock, Hourglass, Refine, ResSkip, ResSkipPlain
from blitznet.nets.resize import resize
from blitznet.nets.upscale import NoUpscale, UpscaleStream
from support.small_networks import NETWORK, num_parameters


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def make_block(fusion: Fusion, in_channels: int, skip_channels: int) -> FusionBlock:
    block = FUSIONS[fusion](
        in_channels, skip_channels, out_channels=16, hidden_channels=4, mode="bilinear", layers=CONV_LAYERS
    )
    return block.eval()


@pytest.mark.parametrize(
    ("count", "length", "mode", "expected"),
    [  # values of the reference: a ramp shows which source position each cell reads
        (2, 3, "legacy", [0, 2 / 3, 1]),
        (3, 5, "legacy", [0, 0.6, 1.2, 1.8, 2]),
        (2, 3, "bilinear", [0, 0.5, 1]),
        (3, 5, "bilinear", [0, 0.4, 1, 1.6, 2]),
        (3, 5, "nearest", [0, 0, 1, 1, 2]),
        (5, 5, "legacy", [0, 1, 2, 3, 4]),
        (1, 4, "legacy", [0, 0, 0, 0]),
    ],
)
def test_resize_reads_the_documented_positions(count: int, length: int, mode: Resize, expected: list[float]) -> None:
    ramp, values = torch.arange(count, dtype=torch.float32), torch.tensor(expected, dtype=torch.float32)
    columns = resize(ramp.expand(1, 1, count, count), (length, length), mode)
    torch.testing.assert_close(columns, values.expand(1, 1, length, length))
    rows = resize(ramp[:, None].expand(1, 1, count, count), (length, count), mode)
    torch.testing.assert_close(rows, values[:, None].expand(1, 1, length, count))


@pytest.mark.parametrize(
    ("in_channels", "skip_channels", "parameters"),
    [(2048, 2048, 1_788_416), (512, 2048, 542_208), (512, 1024, 411_136), (512, 512, 345_600), (512, 256, 312_832)],
)
def test_resskip_has_the_parameters_of_the_paper(in_channels: int, skip_channels: int, parameters: int) -> None:
    with torch.device("meta"):
        block = ResSkip(
            in_channels, skip_channels, out_channels=512, hidden_channels=128, mode="bilinear", layers=CONV_LAYERS
        )
    assert num_parameters(block) == parameters


@pytest.mark.parametrize("fusion", get_args(Fusion))
@pytest.mark.parametrize("in_channels", [16, 24])
def test_every_block_fuses_at_the_size_of_the_skip(fusion: Fusion, in_channels: int) -> None:
    block = make_block(fusion, in_channels, 12)
    x, skip = noise(2, in_channels, 3, 4), noise(2, 12, 5, 7)
    fused, h = block(x, skip)
    resized = resize(x, (5, 7), "bilinear")
    assert fused.shape == h.shape == (2, 16, 5, 7)
    assert fused.min() >= 0
    torch.testing.assert_close(h, resized if in_channels == 16 else block.project(resized))
    assert h.min() < 0, "h has no ReLU"


def test_resskip_is_figure_3() -> None:
    block = make_block("resskip", 24, 12)
    assert isinstance(block, ResSkip)
    x, skip = noise(1, 24, 2, 2), noise(1, 12, 3, 3)
    resized = resize(x, (3, 3), "bilinear")
    assert isinstance(block.residual, nn.Sequential)
    reduce, spatial, expand = block.residual
    assert isinstance(expand, ConvNorm)
    hidden = spatial(reduce(torch.cat([resized, skip], 1)))
    torch.testing.assert_close(block(x, skip)[0], (block.project(resized) + expand.norm(expand.conv(hidden))).relu())


def test_resskip_plain_has_no_residual_connection() -> None:
    block = make_block("resskip-plain", 16, 12)
    assert isinstance(block, ResSkipPlain)
    x, skip = noise(1, 16, 3, 3), noise(1, 12, 3, 3)
    torch.testing.assert_close(block(x, skip)[0], block.residual(torch.cat([x, skip], 1)).relu())


def test_hourglass_adds_a_residual_unit_of_the_skip() -> None:
    block = make_block("hourglass", 16, 12)
    assert isinstance(block, Hourglass)
    x, skip = noise(1, 16, 3, 3), noise(1, 12, 3, 3)
    expected = (x + block.residual(skip) + block.shortcut(skip)).relu()
    torch.testing.assert_close(block(x, skip)[0], expected)


def test_refine_merges_the_adapted_skip() -> None:
    block = make_block("refine", 16, 12)
    assert isinstance(block, Refine)
    x, skip = noise(1, 16, 3, 3), noise(1, 12, 3, 3)
    torch.testing.assert_close(block(x, skip)[0], block.merge(torch.cat([x, block.adapt(skip)], 1)))
    assert isinstance(block.merge, ConvNorm)
    assert isinstance(block.adapt, ConvNorm)
    assert block.merge.conv.kernel_size == block.adapt.conv.kernel_size == (3, 3)


@pytest.mark.parametrize("fusion", get_args(Fusion))
def test_upscale_stream_pools_the_deepest_h_and_has_gradients_everywhere(fusion: Fusion) -> None:
    stream = UpscaleStream((8, 12, 24), replace(NETWORK, fusion=fusion))
    maps = (noise(2, 4, 16, 16), noise(2, 8, 8, 9), noise(2, 12, 4, 5), noise(2, 24, 2, 3))
    outputs = stream(maps)
    assert [tuple(x.shape) for x in outputs] == [(2, 16, 8, 9), (2, 16, 4, 5), (2, 16, 1, 1)]
    assert stream.out_channels == (16, 16, 16)
    deepest = stream.blocks[-1]
    assert isinstance(deepest, FusionBlock)
    _, h = deepest(maps[3], maps[2])
    torch.testing.assert_close(outputs[-1], h.mean((2, 3), keepdim=True))
    sum(x.square().sum() for x in outputs).backward()
    assert all(parameter.grad is not None for parameter in stream.parameters())


def test_no_upscale_pools_the_coarsest_map() -> None:
    maps = (noise(1, 4, 8, 8), noise(1, 8, 4, 4), noise(1, 8, 2, 2))
    stream = NoUpscale((8, 8))
    outputs = stream(maps)
    assert [tuple(x.shape) for x in outputs] == [(1, 8, 4, 4), (1, 8, 2, 2), (1, 8, 1, 1)]
    assert stream.out_channels == (8, 8, 8)
    torch.testing.assert_close(outputs[-1][0, :, 0, 0], maps[2][0].mean((1, 2)))
