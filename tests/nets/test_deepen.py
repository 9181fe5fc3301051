"""One coarser map more: what the others had goes to its place, and says the same as before."""

from dataclasses import replace

import pytest
import torch

from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.transfer import transfer
from nets.test_lite import lite

COUNT = 5
BEFORE = lite(side=True, guide=True)
AFTER = replace(
    lite(side=True, guide=True, extra=4), anchors=replace(BEFORE.anchors, strides=(8, 16, 32, 64, 128, 256))
)


def built(spec: Spec, seed: int) -> BlitzNet:
    torch.manual_seed(seed)
    return build(spec).eval()


@pytest.fixture(scope="module")
def pair() -> tuple[BlitzNet, BlitzNet]:
    old, new = built(BEFORE, 0), built(AFTER, 1)
    transfer(old, BEFORE, new, AFTER)
    return old, new


@pytest.mark.parametrize(
    "part", ["encoder", "upscale.blocks.0", "upscale.blocks.3", "detection.logits.4", "detection_prior.foreground_gate"]
)
def test_what_both_have_is_kept(pair: tuple[BlitzNet, BlitzNet], part: str) -> None:
    old, new = (net.get_submodule(part).state_dict() for net in pair)
    assert old
    assert all(torch.equal(value, new[name]) for name, value in old.items())


@pytest.mark.parametrize("part", ["detection.offsets", "detection.logits", "segmentation.reduce"])
def test_the_pooled_map_keeps_its_layer_one_place_later(pair: tuple[BlitzNet, BlitzNet], part: str) -> None:
    old, new = pair
    before = old.get_submodule(f"{part}.{COUNT}").state_dict()
    after = new.get_submodule(f"{part}.{COUNT + 1}").state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_deepest_block_and_the_new_map_begin_afresh(pair: tuple[BlitzNet, BlitzNet]) -> None:
    fresh = built(AFTER, 1).state_dict()
    deep = (
        f"upscale.blocks.{COUNT - 1}.",
        f"upscale.blocks.{COUNT}.",
        f"detection.logits.{COUNT}.",
        "downscale.blocks.3",
    )
    state = pair[1].state_dict()
    for stem in deep:
        names = [name for name in fresh if name.startswith(stem)]
        assert names
        assert all(torch.equal(state[name], fresh[name]) for name in names)


@torch.no_grad()
def test_the_class_map_does_not_hear_the_new_map(pair: tuple[BlitzNet, BlitzNet]) -> None:
    old, new = pair
    maps = [torch.randn(1, 128, side, side) for side in (38, 19, 10, 5, 3, 1)]
    encoded = old.encoder(torch.randn(1, 3, 300, 300))
    assert old.segmentation is not None
    assert new.segmentation is not None
    expected = old.segmentation(tuple(maps), encoded)[1]
    maps.insert(COUNT, torch.randn(1, 128, 2, 2))
    torch.testing.assert_close(new.segmentation(tuple(maps), encoded)[1], expected)
