"""The light network on a feature pyramid: shapes, gradients, size and cost, initialization, and its files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import ModelError
from blitznet.core.models import blitznet300_lite, blitznet416_lite
from blitznet.core.outputs import OUTPUT_NAMES, Outputs
from blitznet.core.spec import Spec, Task
from blitznet.export.formats import export
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.deploy import Deployed
from blitznet.nets.heads import as_convolutions, flatten_predictions
from blitznet.nets.lite_fpn import FpnDetectionHead, FpnSegmentationHead
from blitznet.nets.model_files import load_model, save_model
from blitznet.nets.parts import HeadOutputs
from blitznet.nets.transfer import class_layers, transfer
from blitznet.runtime.onnx_engine import OnnxEngine
from support.small_networks import fpn_spec, num_parameters

SMALL = replace(fpn_spec(channels=16, detection_prior=False), classes=("cat", "dog", "bird"), size=(96, 64))
WITH_PRIOR = replace(SMALL, network=replace(SMALL.network, detection_prior=True))


def make(spec: Spec, seed: int = 0) -> BlitzNet:
    torch.manual_seed(seed)
    return build(spec).eval()


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    return make(blitznet300_lite())


def sum_of_squares(outputs: HeadOutputs) -> Tensor:
    tensors = [x for x in (outputs.offsets, outputs.logits, outputs.segmentation_logits) if x is not None]
    total: Tensor = sum((x.square().mean() for x in tensors), torch.zeros(()))
    return total


@pytest.mark.parametrize("size", [(300, 300), (416, 416), (225, 385), (33, 47), (600, 64)])
def test_outputs_have_a_row_for_each_anchor(net: BlitzNet, size: tuple[int, int]) -> None:
    layout = blitznet300_lite().anchors
    with torch.inference_mode():
        outputs = net(torch.zeros(2, 3, *size))
    count = len(generate_anchors(layout, feature_map_sizes(layout, size)))
    assert outputs.offsets.shape == (2, count, 4)
    assert outputs.logits.shape == (2, count, 21)
    assert outputs.segmentation_logits.shape == (2, 21, -(-size[0] // 8), -(-size[1] // 8))


def test_both_models_have_the_same_network() -> None:
    small, large = blitznet300_lite(), blitznet416_lite()
    assert large.network == small.network
    assert len(generate_anchors(small.anchors, feature_map_sizes(small.anchors, small.size))) == 11_664
    assert len(generate_anchors(large.anchors, feature_map_sizes(large.anchors, large.size))) == 21_714


@pytest.mark.parametrize(
    ("task", "expected"), [("detection", {"offsets", "logits"}), ("segmentation", {"segmentation_logits"})]
)
def test_a_single_task_has_the_outputs_of_both(task: Task, expected: set[str]) -> None:
    both, single = make(SMALL), make(replace(SMALL, tasks=(task,)))
    assert {*single.state_dict()} < {*both.state_dict()}
    images = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        outputs, all_outputs = single(images), both(images)
    assert {name for name in OUTPUT_NAMES if getattr(outputs, name) is not None} == expected
    for name in expected:
        assert torch.equal(getattr(outputs, name), getattr(all_outputs, name))


@pytest.mark.parametrize("context_blocks", [0, 1, 2])
def test_gradients_reach_every_parameter(context_blocks: int) -> None:
    net = make(fpn_spec(channels=16, context_blocks=context_blocks)).train()
    assert isinstance(net.segmentation, FpnSegmentationHead)
    assert len(net.segmentation.context) == context_blocks
    for block in net.segmentation.context:  # at the initial 0 the layers before have no gradient
        nn.init.ones_(block.get_submodule("residual.2.norm").get_parameter("weight"))
    sum_of_squares(net(torch.randn(2, 3, 96, 64))).backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_frozen_batch_norms_compute_the_same_in_training_and_inference() -> None:
    net = make(SMALL).train()
    with torch.no_grad():
        net(torch.rand(4, 3, 96, 64))  # statistics other than the initial ones
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    images = torch.rand(2, 3, 96, 64)
    gradients = []
    for mode in (net.train, net.eval):
        mode()
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        outputs = net(images)
        parameters = tuple(net.parameters())
        gradients.append((outputs, torch.autograd.grad(sum_of_squares(outputs), parameters, allow_unused=True)))
    (folded, folded_gradients), (plain, plain_gradients) = gradients
    for name in OUTPUT_NAMES:
        torch.testing.assert_close(getattr(folded, name), getattr(plain, name), rtol=1e-4, atol=1e-4)
    for a, b in zip(folded_gradients, plain_gradients, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert (a - b).norm() <= 1e-3 * b.norm() + 1e-6


def test_parameters_and_multiply_adds(net: BlitzNet) -> None:
    assert num_parameters(net) / 1e6 == pytest.approx(4.25, abs=0.005)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 300, 300))
    assert sum(counter.get_flop_counts()["BlitzNet"].values()) / 2e6 == pytest.approx(934, abs=1)


def test_a_pyramid_level_adds_the_coarser_map() -> None:
    """The finest map changes with the map at stride 64, and not with those that are coarser."""
    net = make(SMALL)
    with torch.inference_mode():
        maps = list(net.downscale(net.encoder(torch.rand(1, 3, 96, 64))))
        expected = net.upscale(tuple(maps))
        assert [x.shape[1] for x in expected] == list(net.upscale.out_channels)
        assert [tuple(x.shape[2:]) for x in expected] == [
            *[(12, 8), (6, 4), (3, 2)],
            *[(6, 4), (3, 2), (2, 1), (1, 1), (1, 1), (1, 1)],
        ]
        maps[5:] = [x + 1 for x in maps[5:]]
        assert torch.equal(net.upscale(tuple(maps))[0], expected[0])
        maps[4] = maps[4] + 1
        assert not torch.equal(net.upscale(tuple(maps))[0], expected[0])


def test_a_level_reads_the_pyramid_and_the_downscale_stream() -> None:
    """Class logits and offsets of a level: the 1x1 of both maps' features equals the sum of a 1x1 of each."""
    net = make(SMALL)
    head = net.detection
    assert isinstance(head, FpnDetectionHead)
    with torch.inference_mode():
        maps = net.upscale(net.downscale(net.encoder(torch.rand(1, 3, 96, 64))))
        pyramid, down = maps[:3], maps[3:]
        offsets, logits = head(maps)
        for outputs, features, layers in (
            (offsets, head.box_features, head.offsets),
            (logits, head.class_features, head.logits),
        ):
            for level, (output, layer) in enumerate(zip(outputs, as_convolutions(layers), strict=True)):
                assert layer.bias is not None
                expected = layer.bias[:, None, None].expand_as(output[0]).clone()
                kernel = layer.weight[:, :, 0, 0]
                if level < 3:
                    x = head.pyramid_features[level](pyramid[level])[0]
                    expected += torch.einsum("od,dhw->ohw", kernel[:, : len(x)], x)
                if level > 0:
                    x = features[level - 1](down[level - 1])[0]
                    expected += torch.einsum("od,dhw->ohw", kernel[:, -len(x) :], x)
                torch.testing.assert_close(output[0], expected, rtol=1e-4, atol=1e-5)


def test_context_blocks_are_zero_initialized() -> None:
    net = make(SMALL)
    head = net.segmentation
    assert isinstance(head, FpnSegmentationHead)
    x = torch.rand(1, 16, 6, 4)
    for block in head.context:
        assert torch.equal(block(x), x)


def test_initial_probability_of_background_is_three_quarters(net: BlitzNet) -> None:
    head = net.detection
    assert isinstance(head, FpnDetectionHead)
    maps = [torch.zeros(1, width, 1, 1) for width in (128, 128, 128, 576, 1280, 512, 256, 256, 128)]
    background = flatten_predictions(head(tuple(maps))[1], 21).softmax(-1)[..., 0]
    torch.testing.assert_close(background, torch.full_like(background, 0.75), rtol=1e-4, atol=0)


def test_a_batch_of_one_image_can_be_trained() -> None:
    """The coarsest map has one cell, for which a batch norm would have no variance."""
    net = make(SMALL).train()
    sum_of_squares(net(torch.randn(1, 3, *SMALL.size))).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_other_encoders(encoder: str) -> None:
    net = make(fpn_spec(encoder=encoder, channels=16))
    with torch.inference_mode():
        outputs = net(torch.zeros(1, 3, 64, 96))
    assert outputs.segmentation_logits.shape == (1, 21, 8, 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra_levels": 2}, "expected maps of the anchors' strides .*change `extra_levels` or the anchors"),
        ({"segmentation_stride": 4}, "expected a segmentation_stride of 8, the finest anchors', got 4"),
        ({"encoder": "vgg16"}, "encoder: expected one of .*, got 'vgg16'"),
    ],
)
def test_build_rejects_networks_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(fpn_spec(**changes))


@pytest.mark.parametrize(
    ("strides", "extra_levels", "message"),
    [
        ((8, 16, 32), 1, "expected 4 or more anchor strides, got 3"),
        ((16, 32, 64, 128), 3, r"expected anchors that begin at the strides \(8, 16, 32\) of mobilenetv2-ssdlite, got"),
    ],
)
def test_build_rejects_anchors_that_do_not_fit(strides: tuple[int, ...], extra_levels: int, message: str) -> None:
    spec = fpn_spec(extra_levels=extra_levels, segmentation_stride=strides[0])
    with pytest.raises(ModelError, match=message):
        build(replace(spec, anchors=replace(spec.anchors, strides=strides)))


def test_transfer_to_other_classes() -> None:
    old, new_spec = make(SMALL, 0), replace(SMALL, classes=("zebra", "dog", "cat", "lamp"))
    new = make(new_spec, 1)
    assert transfer(old, SMALL, new, new_spec) == ("dog", "cat")
    images = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        expected, actual = old(images), new(images)
    assert torch.equal(actual.offsets, expected.offsets)
    torch.testing.assert_close(actual.logits[..., [0, 2, 3]], expected.logits[..., [0, 2, 1]])
    torch.testing.assert_close(actual.segmentation_logits[:, [0, 2, 3]], expected.segmentation_logits[:, [0, 2, 1]])
    with torch.device("meta"):
        few, many = (build(replace(SMALL, classes=tuple("abcdefgh"[:count]))).state_dict() for count in (2, 7))
    assert class_layers(new) == {name.rpartition(".")[0] for name in few if few[name].shape != many[name].shape}


def test_a_model_file_has_the_same_network_and_spec(tmp_path: Path) -> None:
    net = make(SMALL)
    save_model(tmp_path / "model.safetensors", net, SMALL)
    loaded, spec = load_model(tmp_path / "model.safetensors")
    assert spec == SMALL
    assert (spec.network.family, spec.network.context_blocks) == ("lite-fpn", 2)
    state = loaded.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.slow
def test_the_exported_file_computes_the_same(tmp_path: Path) -> None:
    net = make(WITH_PRIOR)
    export(net, WITH_PRIOR, tmp_path / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, *WITH_PRIOR.size, 3), np.uint8)
    engine = OnnxEngine(tmp_path / "model.onnx", threads=1)
    assert engine.spec == WITH_PRIOR
    outputs = engine.run(images)
    assert isinstance(outputs, Outputs)
    with torch.inference_mode():
        expected = Deployed(net, WITH_PRIOR).eval()(torch.from_numpy(images))
    for name, value in zip(OUTPUT_NAMES, expected, strict=True):
        np.testing.assert_allclose(getattr(outputs, name), value.numpy(), atol=1e-4 * float(value.std()))
