"""Weights between models of other classes: shared classes have the same outputs, whatever their order and spelling."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.spec import Network, Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.parts import HeadOutputs
from blitznet.nets.transfer import class_layers, match_classes, transfer
from support import tiny_models

CLASSES = ("aeroplane", "car", "dog", "tvmonitor", "person")
PAPER, LITE = tiny_models.specs()
SPECS = [pytest.param(PAPER, id="paper"), pytest.param(LITE, id="lite")]


def make(spec: Spec, classes: tuple[str, ...], seed: int) -> tuple[BlitzNet, Spec]:
    """A randomly initialized network with these classes."""
    torch.manual_seed(seed)
    spec = replace(spec, classes=classes)
    return build(spec).eval(), spec


@torch.no_grad()
def outputs_of(net: BlitzNet) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets, logits and segmentation logits for two random images."""
    outputs: HeadOutputs = net(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    assert outputs.offsets is not None
    assert outputs.logits is not None
    assert outputs.segmentation_logits is not None
    return outputs.offsets, outputs.logits, outputs.segmentation_logits


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_classes_have_identical_outputs(spec: Spec) -> None:
    old, old_spec = make(spec, CLASSES, 0)
    new, new_spec = make(spec, CLASSES, 1)
    assert transfer(old, old_spec, new, new_spec) == CLASSES
    for expected, actual in zip(outputs_of(old), outputs_of(new), strict=True):
        assert torch.equal(expected, actual)
    assert {*old.state_dict()} == {*new.state_dict()}
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in old.state_dict().items())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(
    ("classes", "copied", "old_channels", "new_channels"),
    [
        (("dog", "aeroplane"), ("dog", "aeroplane"), [0, 3, 1], [0, 1, 2]),
        (("TV", "airplane", "zebra", "person"), ("TV", "airplane", "person"), [0, 4, 1, 5], [0, 1, 2, 4]),
        (("zebra",), (), [0], [0]),
        ((*CLASSES, "zebra"), CLASSES, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        # as many channels as before, none at its old index
        (
            ("person", "zebra", "car", "aeroplane", "dog"),
            ("person", "car", "aeroplane", "dog"),
            [0, 5, 2, 1, 3],
            [0, 1, 3, 4, 5],
        ),
    ],
)
def test_shared_classes_have_the_same_outputs_at_their_new_channel(
    spec: Spec, classes: tuple[str, ...], copied: tuple[str, ...], old_channels: list[int], new_channels: list[int]
) -> None:
    old, old_spec = make(spec, CLASSES, 0)
    new, new_spec = make(spec, classes, 1)
    initial, _ = make(spec, classes, 1)
    assert transfer(old, old_spec, new, new_spec) == copied
    offsets, logits, segmentation_logits = outputs_of(old)
    new_offsets, new_logits, new_segmentation_logits = outputs_of(new)
    assert torch.equal(new_offsets, offsets)
    torch.testing.assert_close(new_logits[:, :, new_channels], logits[:, :, old_channels])
    torch.testing.assert_close(new_segmentation_logits[:, new_channels], segmentation_logits[:, old_channels])
    others = [channel for channel in range(len(classes) + 1) if channel not in new_channels]
    for name in class_layers(new):
        weight, initial_weight = new.get_submodule(name).weight, initial.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        assert isinstance(initial_weight, Tensor)
        shape = (-1, len(classes) + 1, *weight.shape[1:])
        assert torch.equal(weight.reshape(shape)[:, others], initial_weight.reshape(shape)[:, others])


@pytest.mark.parametrize("spec", SPECS)
def test_class_layers_are_those_whose_shape_depends_on_the_classes(spec: Spec) -> None:
    with torch.device("meta"):
        few, many = (build(replace(spec, classes=tuple("abcdefgh"[:count]))) for count in (2, 7))
    few_state, many_state = few.state_dict(), many.state_dict()
    changed = {name.rpartition(".")[0] for name in few_state if few_state[name].shape != many_state[name].shape}
    assert class_layers(few) == changed
    assert len(changed) == len(spec.anchors.strides) + 2


def test_heads_of_only_one_network_are_skipped() -> None:
    old, old_spec = make(PAPER, CLASSES, 0)
    boxes, boxes_spec = make(replace(PAPER, tasks=("detection",)), ("car",), 1)
    assert transfer(old, old_spec, boxes, boxes_spec) == ("car",)
    assert torch.equal(boxes.encoder.state_dict()["stem.0.weight"], old.encoder.state_dict()["stem.0.weight"])
    both, both_spec = make(PAPER, CLASSES, 2)
    initial, _ = make(PAPER, CLASSES, 2)
    transfer(boxes, boxes_spec, both, both_spec)
    assert both.segmentation is not None
    assert initial.segmentation is not None
    expected = initial.segmentation.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in both.segmentation.state_dict().items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            replace(PAPER.network, fusion="refine"),
            r"tiny as initialization of other: expected \d+ weights, got \d+ missing: upscale",
        ),
        (replace(PAPER.network, channels=24), r"tiny as initialization of other: .*: expected shape \(.*\), got \("),
        (LITE.network, r"expected \d+ weights, got \d+ missing: detection"),
        (replace(PAPER.network, segmentation_channels=6), r"segmentation.*: expected shape \(.*\), got \("),
    ],
)
def test_transfer_rejects_another_network(network: Network, message: str) -> None:
    old, old_spec = make(PAPER, CLASSES, 0)
    new, new_spec = make(replace(PAPER, name="other", network=network), CLASSES, 1)
    with pytest.raises(ModelError, match=message):
        transfer(old, old_spec, new, new_spec)


def test_match_classes_prefers_the_same_spelling_to_a_synonym() -> None:
    assert match_classes(("tv", "tvmonitor"), ("tvmonitor", "tv", "television")) == [(0, 0), (2, 1), (1, 2), (1, 3)]
