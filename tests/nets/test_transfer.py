"""Weights between models of other classes: the same classes say the same, whatever their order and spelling."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.spec import Network, Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.parts import HeadOutputs
from blitznet.nets.transfer import class_layers, shared_rows, transfer
from support import tiny_models

CLASSES = ("aeroplane", "car", "dog", "tvmonitor", "person")
PAPER, LITE = tiny_models.specs()
SPECS = [pytest.param(PAPER, id="paper"), pytest.param(LITE, id="lite")]


def of(spec: Spec, classes: tuple[str, ...], seed: int) -> tuple[BlitzNet, Spec]:
    torch.manual_seed(seed)
    spec = replace(spec, classes=classes)
    return build(spec).eval(), spec


@torch.no_grad()
def heads_of(net: BlitzNet) -> HeadOutputs:
    heads: HeadOutputs = net(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    return heads


def parts_of(heads: HeadOutputs) -> tuple[Tensor, Tensor, Tensor]:
    assert heads.offsets is not None
    assert heads.logits is not None
    assert heads.segmentation_logits is not None
    return heads.offsets, heads.logits, heads.segmentation_logits


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_classes_give_identical_answers(spec: Spec) -> None:
    old, old_spec = of(spec, CLASSES, 0)
    new, new_spec = of(spec, CLASSES, 1)
    assert transfer(old, old_spec, new, new_spec) == CLASSES
    for expected, actual in zip(parts_of(heads_of(old)), parts_of(heads_of(new)), strict=True):
        assert torch.equal(expected, actual)
    assert {*old.state_dict()} == {*new.state_dict()}
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in old.state_dict().items())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("classes", "carried", "taken", "put"),
    [
        (("dog", "aeroplane"), ("dog", "aeroplane"), [0, 3, 1], [0, 1, 2]),
        (("TV", "airplane", "zebra", "person"), ("TV", "airplane", "person"), [0, 4, 1, 5], [0, 1, 2, 4]),
        (("zebra",), (), [0], [0]),
        ((*CLASSES, "zebra"), CLASSES, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        # as many channels as before, and none in its place
        (
            ("person", "zebra", "car", "aeroplane", "dog"),
            ("person", "car", "aeroplane", "dog"),
            [0, 5, 2, 1, 3],
            [0, 1, 3, 4, 5],
        ),
    ],
)
def test_known_classes_say_the_same_in_their_new_place(
    spec: Spec, classes: tuple[str, ...], carried: tuple[str, ...], taken: list[int], put: list[int]
) -> None:
    old, old_spec = of(spec, CLASSES, 0)
    new, new_spec = of(spec, classes, 1)
    fresh, _ = of(spec, classes, 1)
    assert transfer(old, old_spec, new, new_spec) == carried
    offsets, logits, class_map = parts_of(heads_of(old))
    new_offsets, new_logits, new_map = parts_of(heads_of(new))
    assert torch.equal(new_offsets, offsets)
    torch.testing.assert_close(new_logits[:, :, put], logits[:, :, taken])
    torch.testing.assert_close(new_map[:, put], class_map[:, taken])
    rest = [channel for channel in range(len(classes) + 1) if channel not in put]
    for name in class_layers(new):
        mine, begun = new.get_submodule(name).weight, fresh.get_submodule(name).weight
        assert isinstance(mine, Tensor)
        assert isinstance(begun, Tensor)
        shape = (-1, len(classes) + 1, *mine.shape[1:])
        assert torch.equal(mine.reshape(shape)[:, rest], begun.reshape(shape)[:, rest])


@pytest.mark.parametrize("spec", SPECS)
def test_class_layers_are_those_that_grow_with_the_classes(spec: Spec) -> None:
    with torch.device("meta"):
        few, many = (build(replace(spec, classes=tuple("abcdefgh"[:count]))) for count in (2, 7))
    mine, theirs = few.state_dict(), many.state_dict()
    grown = {name.rpartition(".")[0] for name in mine if mine[name].shape != theirs[name].shape}
    assert class_layers(few) == grown
    assert len(grown) == len(spec.anchors.strides) + 2


def test_a_head_that_only_one_has_is_left_out() -> None:
    old, old_spec = of(PAPER, CLASSES, 0)
    boxes, boxes_spec = of(replace(PAPER, tasks=("detection",)), ("car",), 1)
    assert transfer(old, old_spec, boxes, boxes_spec) == ("car",)
    assert torch.equal(boxes.encoder.state_dict()["stem.0.weight"], old.encoder.state_dict()["stem.0.weight"])
    both, both_spec = of(PAPER, CLASSES, 2)
    fresh, _ = of(PAPER, CLASSES, 2)
    transfer(boxes, boxes_spec, both, both_spec)
    assert both.segmentation is not None
    assert fresh.segmentation is not None
    begun = fresh.segmentation.state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in both.segmentation.state_dict().items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (replace(PAPER.network, fusion="refine"), r"tiny as the start of other: misses .* weights: upscale"),
        (replace(PAPER.network, channels=24), r"tiny as the start of other: .*: expected shape \(.*\), got \("),
        (LITE.network, "misses .* weights: detection"),
        (replace(PAPER.network, segmentation_channels=6), r"segmentation.*: expected shape \(.*\), got \("),
    ],
)
def test_another_network_is_refused_in_words(network: Network, message: str) -> None:
    old, old_spec = of(PAPER, CLASSES, 0)
    new, new_spec = of(replace(PAPER, name="other", network=network), CLASSES, 1)
    with pytest.raises(ModelError, match=message):
        transfer(old, old_spec, new, new_spec)


def test_the_same_spelling_goes_before_the_same_meaning() -> None:
    assert shared_rows(("tv", "tvmonitor"), ("tvmonitor", "tv", "television")) == [(0, 0), (2, 1), (1, 2), (1, 3)]
