from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from blitznet.core.spec import Fusion, Resize
from blitznet.nets.blocks import ConvNorm
from blitznet.nets.fusion import FUSIONS, FusionBlock, Hourglass, Refine, ResSkip, ResSkipPlain
from blitznet.nets.resize import resize
from blitznet.nets.upscale import NoUpscale, UpscaleStream
from support.small_networks import NETWORK, trained


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def make(kind: Fusion, wide_x: int, wide_skip: int) -> FusionBlock:
    return FUSIONS[kind](wide_x, wide_skip, wide=16, inner=4, how="bilinear").eval()


@pytest.mark.parametrize(
    ("count", "side", "how", "expected"),
    [  # the reference's worked values: an even ramp shows where each cell is read
        (2, 3, "legacy", [0, 2 / 3, 1]),
        (3, 5, "legacy", [0, 0.6, 1.2, 1.8, 2]),
        (2, 3, "bilinear", [0, 0.5, 1]),
        (3, 5, "bilinear", [0, 0.4, 1, 1.6, 2]),
        (3, 5, "nearest", [0, 0, 1, 1, 2]),
        (5, 5, "legacy", [0, 1, 2, 3, 4]),
        (1, 4, "legacy", [0, 0, 0, 0]),
    ],
)
def test_resize_reads_where_it_should(count: int, side: int, how: Resize, expected: list[float]) -> None:
    ramp = torch.arange(count, dtype=torch.float32)
    across = resize(ramp.expand(1, 1, count, count), (side, side), how)
    torch.testing.assert_close(across, torch.tensor(expected, dtype=torch.float32).expand(1, 1, side, side))
    down = resize(ramp[:, None].expand(1, 1, count, count), (side, count), how)
    torch.testing.assert_close(down, torch.tensor(expected, dtype=torch.float32)[:, None].expand(1, 1, side, count))


@pytest.mark.parametrize(
    ("wide_x", "wide_skip", "values"),
    [(2048, 2048, 1_788_416), (512, 2048, 542_208), (512, 1024, 411_136), (512, 512, 345_600), (512, 256, 312_832)],
)
def test_resskip_has_the_papers_size(wide_x: int, wide_skip: int, values: int) -> None:
    with torch.device("meta"):
        assert trained(ResSkip(wide_x, wide_skip, wide=512, inner=128, how="bilinear")) == values


@pytest.mark.parametrize("kind", get_args(Fusion))
@pytest.mark.parametrize("wide_x", [16, 24])
def test_every_block_joins_at_the_skips_size(kind: Fusion, wide_x: int) -> None:
    block = make(kind, wide_x, 12)
    x, skip = noise(2, wide_x, 3, 4), noise(2, 12, 5, 7)
    joined, h = block(x, skip)
    u = resize(x, (5, 7), "bilinear")
    assert joined.shape == h.shape == (2, 16, 5, 7)
    assert joined.min() >= 0
    torch.testing.assert_close(h, u if wide_x == 16 else block.project(u))
    assert h.min() < 0, "h has no ReLU"


def test_resskip_is_figure_3() -> None:
    block = make("resskip", 24, 12)
    assert isinstance(block, ResSkip)
    x, skip = noise(1, 24, 2, 2), noise(1, 12, 3, 3)
    u = resize(x, (3, 3), "bilinear")
    squeeze, spread, last = block.residual
    assert isinstance(last, ConvNorm)
    inner = spread(squeeze(torch.cat([u, skip], 1)))
    torch.testing.assert_close(block(x, skip)[0], (block.project(u) + last.norm(last.conv(inner))).relu())


def test_plain_leaves_the_residual_out() -> None:
    block = make("resskip-plain", 16, 12)
    assert isinstance(block, ResSkipPlain)
    x, skip = noise(1, 16, 3, 3), noise(1, 12, 3, 3)
    torch.testing.assert_close(block(x, skip)[0], block.residual(torch.cat([x, skip], 1)).relu())


def test_hourglass_sums_a_unit_of_the_skip() -> None:
    block = make("hourglass", 16, 12)
    assert isinstance(block, Hourglass)
    x, skip = noise(1, 16, 3, 3), noise(1, 12, 3, 3)
    expected = (x + block.residual(skip) + block.shortcut(skip)).relu()
    torch.testing.assert_close(block(x, skip)[0], expected)


def test_refine_merges_the_adapted_skip() -> None:
    block = make("refine", 16, 12)
    assert isinstance(block, Refine)
    x, skip = noise(1, 16, 3, 3), noise(1, 12, 3, 3)
    torch.testing.assert_close(block(x, skip)[0], block.merge(torch.cat([x, block.adapt(skip)], 1)))
    assert block.merge.conv.kernel_size == block.adapt.conv.kernel_size == (3, 3)


@pytest.mark.parametrize("kind", get_args(Fusion))
def test_stream_pools_the_deepest_h_and_learns_everywhere(kind: Fusion) -> None:
    stream = UpscaleStream((8, 12, 24), replace(NETWORK, fusion=kind))
    maps = (noise(2, 4, 16, 16), noise(2, 8, 8, 9), noise(2, 12, 4, 5), noise(2, 24, 2, 3))
    given = stream(maps)
    assert [tuple(x.shape) for x in given] == [(2, 16, 8, 9), (2, 16, 4, 5), (2, 16, 1, 1)]
    assert stream.out_channels == (16, 16, 16)
    deepest = stream.blocks[-1]
    assert isinstance(deepest, FusionBlock)
    _, h = deepest(maps[3], maps[2])
    torch.testing.assert_close(given[-1], h.mean((2, 3), keepdim=True))
    sum(x.square().sum() for x in given).backward()
    assert all(parameter.grad is not None for parameter in stream.parameters())


def test_baseline_pools_its_coarsest_map() -> None:
    maps = (noise(1, 4, 8, 8), noise(1, 8, 4, 4), noise(1, 8, 2, 2))
    stream = NoUpscale((8, 8))
    given = stream(maps)
    assert [tuple(x.shape) for x in given] == [(1, 8, 4, 4), (1, 8, 2, 2), (1, 8, 1, 1)]
    assert stream.out_channels == (8, 8, 8)
    torch.testing.assert_close(given[-1][0, :, 0, 0], maps[2][0].mean((1, 2)))
