"""The light network: its shapes, its size and cost, its options, and its initialization."""

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import ModelError
from blitznet.core.models import ssd300_lite
from blitznet.core.spec import ALL_TASKS, Fusion, Spec, Task
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.heads import as_convolutions, flatten_predictions
from blitznet.nets.lite import LiteDetectionHead, LiteDetectionPrior, LiteSegmentationHead
from blitznet.nets.mobilenet import MobileNetV2
from blitznet.nets.resize import resize
from support.small_networks import lite_spec, lite_spec_with_additions, num_parameters


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    torch.manual_seed(0)
    return build(lite_spec()).eval()


@pytest.mark.parametrize("size", [(300, 300), (225, 385), (64, 96), (33, 47)])
def test_outputs_have_a_row_for_each_anchor(net: BlitzNet, size: tuple[int, int]) -> None:
    spec = lite_spec()
    with torch.inference_mode():
        outputs = net(torch.zeros(2, 3, *size))
    count = len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, size)))
    assert outputs.offsets.shape == (2, count, 4)
    assert outputs.logits.shape == (2, count, 21)
    assert outputs.segmentation_logits.shape == (2, 21, -(-size[0] // 4), -(-size[1] // 4))
    assert size != (300, 300) or count == 11_640


@pytest.mark.parametrize("size", [(300, 300), (225, 385), (33, 47)])
def test_logits_of_the_ssd_head_are_added(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = build(lite_spec(ssd_head=True)).eval()
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        total = net(images).logits
        down = net.downscale(net.encoder(images))
        up = net.upscale(down)
        assert net.detection is not None
        assert net.ssd_head is not None
        _, logits = net.detection(up)
        _, ssd_logits = net.ssd_head(down, up)
        torch.testing.assert_close(total, flatten_predictions(logits, 21) + flatten_predictions(ssd_logits, 21))
    assert num_parameters(net.ssd_head) < 500_000


def test_detection_prior_equals_a_slow_version() -> None:
    """At each pixel the weighted margins over background of all maps, gated; and the image-level prior."""
    torch.manual_seed(0)
    net = build(lite_spec(ssd_head=True, detection_prior=True)).eval()
    prior = net.detection_prior
    images, anchors_per_cell = torch.rand(2, 3, 90, 130), 6
    with torch.inference_mode():
        encoded = net.encoder(images)
        up = net.upscale(net.downscale(encoded))
        assert net.segmentation is not None
        assert isinstance(prior, LiteDetectionPrior)
        features, plain = net.segmentation(up, encoded)
        outputs = net(images)
        logits = outputs.logits
        size = (up[0].shape[-2], up[0].shape[-1])
        weights, total, first = prior.level_weights(up[0]).sigmoid(), torch.zeros(2, 21, *size), 0
        for level, x in enumerate(up):
            margins = torch.zeros(2, 21, *x.shape[-2:])
            for row in range(x.shape[-2]):
                for column in range(x.shape[-1]):
                    cell = logits[:, first : first + anchors_per_cell]  # (B, P, C)
                    margins[:, :, row, column] = (cell - cell[..., :1]).max(1).values.clamp(min=0)
                    first += anchors_per_cell
            total += weights[:, level, None] * resize(margins, size, "bilinear")
        assert first == logits.shape[1]
        local = resize(total, (plain.shape[-2], plain.shape[-1]), "bilinear")
        best = torch.stack([(logits[..., c] - logits[..., 0]).max(1).values for c in range(21)], 1)  # (B, C)
        image_prior = torch.log(1 / (1 + torch.exp(-best)) + 0.2)
        image_prior[:, 0] = 0  # background has no anchors of its own
        expected = plain + prior.foreground_gate(features).sigmoid() * local + image_prior[..., None, None]
        torch.testing.assert_close(outputs.segmentation_logits, expected)
        assert (expected - plain).std((2, 3)).max() > 0, "the local term varies over the image"


def test_image_prior_lowers_absent_classes_by_at_most_log_6() -> None:
    torch.manual_seed(0)
    net = build(lite_spec(ssd_head=True, detection_prior=True)).eval()
    assert isinstance(net.detection_prior, LiteDetectionPrior)
    up = [torch.rand(1, 128, side, side) for side in (38, 19, 10, 5, 3, 1)]
    logits = torch.zeros(1, 6 * sum(x.shape[-1] ** 2 for x in up), 21)
    logits[..., 1:] = -40.0
    features = torch.rand(1, 64, 75, 75)
    with torch.inference_mode():
        absent = net.detection_prior(logits, up, features)
        logits[0, 7, 3] = 40.0
        present = net.detection_prior(logits, up, features)
    expected = torch.zeros(21)
    expected[1:] = math.log(0.2)
    torch.testing.assert_close(absent, expected[None, :, None, None].expand_as(absent))
    others = [c for c in range(21) if c != 3]
    torch.testing.assert_close(present[:, others], absent[:, others])
    increase = present[0, 3] - absent[0, 3]
    assert increase.min() >= math.log(6) - 1e-5
    assert increase.max() > increase.min() + 0.1, "larger near the anchor"


def test_gradients_of_the_class_map_do_not_reach_the_class_logits() -> None:
    net = build(lite_spec(ssd_head=True, detection_prior=True)).train()
    assert isinstance(net.detection, LiteDetectionHead)
    for layer in net.detection.class_layers():
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)  # so that some anchors prefer a class
    net(torch.randn(2, 3, 96, 64)).segmentation_logits.square().mean().backward()
    assert net.ssd_head is not None
    assert net.detection_prior is not None
    assert all(p.grad is None for p in net.ssd_head.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.detection_prior.parameters())


def test_image_prior_weight_applies_at_inference_only() -> None:
    torch.manual_seed(0)
    specs = (lite_spec(ssd_head=True, detection_prior=True, image_prior_weight=weight) for weight in (1.0, 3.0))
    single, triple = (build(spec) for spec in specs)
    triple.load_state_dict(single.state_dict())
    images = torch.randn(2, 3, 96, 64)
    training, inference = zip(*((net.train()(images), net.eval()(images)) for net in (single, triple)), strict=True)
    torch.testing.assert_close(training[0].segmentation_logits, training[1].segmentation_logits)
    logits = inference[0].logits
    best = (logits - logits[..., :1]).amax(1)[:, 1:].sigmoid()  # (B, K)
    added = nn.functional.pad(2 * (best + 0.2).log(), (1, 0))[..., None, None]
    torch.testing.assert_close(inference[1].segmentation_logits, inference[0].segmentation_logits + added)


def test_laterals_are_zero_initialized_and_trainable() -> None:
    torch.manual_seed(0)
    net = build(lite_spec(lateral_channels=16)).train()
    assert isinstance(net.segmentation, LiteSegmentationHead)
    assert isinstance(net.encoder, MobileNetV2)
    images = torch.randn(2, 3, 96, 64)
    net(images).segmentation_logits.square().mean().backward()
    outputs = list(as_convolutions(lateral.get_submodule("1") for lateral in net.segmentation.laterals))
    assert [tuple(conv.weight.shape) for conv in outputs] == [(128, 16, 1, 1), (128, 16, 1, 1)]
    for conv in outputs:
        assert not conv.weight.any()
        assert conv.weight.grad is not None
        assert conv.weight.grad.abs().sum() > 0
    net.eval()
    with torch.no_grad():
        before = net(images).segmentation_logits
        for conv in outputs:
            nn.init.normal_(conv.weight, std=0.1)
        assert (net(images).segmentation_logits - before).abs().max() > 0
        for conv in outputs:
            nn.init.zeros_(conv.weight)
        torch.testing.assert_close(net(images).segmentation_logits, before)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_detection_prior_needs_both_tasks(task: Task) -> None:
    assert build(replace(lite_spec(detection_prior=True), tasks=(task,))).detection_prior is None


def test_upscale_stream_has_six_maps(net: BlitzNet) -> None:
    with torch.inference_mode():
        maps = net.upscale(net.downscale(net.encoder(torch.zeros(1, 3, 300, 300))))
    assert [tuple(x.shape) for x in maps] == [(1, 128, side, side) for side in (38, 19, 10, 5, 3, 1)]


@pytest.mark.parametrize(
    ("spec", "parameters", "multiply_adds"), [(lite_spec(), 3.41, 803), (lite_spec_with_additions(), 4.05, 899)]
)
def test_parameters_and_multiply_adds(spec: Spec, parameters: float, multiply_adds: float) -> None:
    net = build(spec).eval()
    assert num_parameters(net) / 1e6 == pytest.approx(parameters, abs=0.005)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 300, 300))
    counts = counter.get_flop_counts()
    millions = {name: sum(counts[name].values()) / 2e6 for name in ("BlitzNet", "BlitzNet.segmentation")}
    assert millions["BlitzNet"] == pytest.approx(multiply_adds, abs=1)
    assert millions["BlitzNet.segmentation"] < 120


def test_baseline_has_the_same_anchors_and_gradients_everywhere() -> None:
    spec = replace(ssd300_lite(), size=(96, 64))
    net = build(spec).train()
    outputs = net(torch.randn(2, 3, 96, 64))
    count = len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)))
    assert outputs.segmentation_logits is None
    assert outputs.offsets.shape == (2, count, 4)
    (outputs.offsets.square().mean() + outputs.logits.square().mean()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    with pytest.raises(
        ModelError, match=r"^ssd300-lite: expected tasks of the ssd-lite family, which has no class map"
    ):
        build(replace(spec, tasks=ALL_TASKS))


@pytest.mark.parametrize("fusion", get_args(Fusion))
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "legacy"])
def test_every_fusion_has_gradients_everywhere(fusion: Fusion, mode: str) -> None:
    torch.manual_seed(0)
    net = build(lite_spec(fusion=fusion, fusion_resize=mode, segmentation_resize=mode)).train()
    outputs = net(torch.randn(2, 3, 96, 64))
    tensors: list[Tensor] = [outputs.offsets, outputs.logits, outputs.segmentation_logits]
    torch.stack([x.square().mean() for x in tensors]).sum().backward()  # type: ignore[no-untyped-call]
    # The paper's h is added in two of the four; in the others it is still the source of the pooled map.
    unused = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unused == []


def test_a_batch_of_one_image_can_be_trained() -> None:
    """The pooled map has one cell, for which a batch norm would have no variance."""
    logits = build(lite_spec()).train()(torch.randn(1, 3, 300, 300)).logits
    assert logits.isfinite().all()


def test_class_map_at_the_stride_of_the_finest_anchors() -> None:
    net = build(lite_spec(segmentation_stride=8)).eval()
    with torch.inference_mode():
        outputs = net(torch.zeros(1, 3, 300, 300))
    assert outputs.segmentation_logits.shape == (1, 21, 38, 38)


@pytest.mark.parametrize(
    ("task", "expected"), [("detection", {"offsets", "logits"}), ("segmentation", {"segmentation_logits"})]
)
def test_a_single_task_has_its_outputs_only(task: Task, expected: set[str]) -> None:
    net = build(replace(lite_spec(), tasks=(task,))).eval()
    with torch.inference_mode():
        outputs = net(torch.zeros(1, 3, 64, 64))
    names = ("offsets", "logits", "segmentation_logits")
    assert {name for name in names if getattr(outputs, name) is not None} == expected


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "efficientnet-lite2", "resnet18"])
def test_other_encoders(encoder: str) -> None:
    net = build(lite_spec(encoder=encoder)).eval()
    with torch.inference_mode():
        outputs = net(torch.zeros(1, 3, 300, 300))
    assert outputs.logits.shape == (1, 11_640, 21)
    assert outputs.segmentation_logits.shape == (1, 21, 75, 75)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra_levels": 2}, "expected maps of the anchors' strides .*change `extra_levels` or the anchors"),
        ({"segmentation_stride": 2}, "expected a segmentation_stride of 8, the finest anchors', or a finer one of"),
        ({"segmentation_stride": 16}, "expected a segmentation_stride of 8, the finest anchors', or a finer one of"),
        ({"encoder": "vgg16"}, "encoder: expected one of .*, got 'vgg16'"),
    ],
)
def test_build_rejects_specs_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(lite_spec(**changes))


def test_initial_probability_of_background_is_three_quarters() -> None:
    torch.manual_seed(0)
    head = LiteDetectionHead((8, 8), anchors_per_cell=6, num_classes=21).eval()
    _, logits = head((torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 1, 1)))
    background = flatten_predictions(logits, 21).softmax(-1)[..., 0]
    torch.testing.assert_close(background, torch.full_like(background, 0.75), rtol=1e-4, atol=0)


def test_build_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.nets.pretrained_encoder.packaged_file", None)
    assert isinstance(build(lite_spec()), nn.Module)
