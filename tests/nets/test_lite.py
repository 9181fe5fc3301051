"""The light network: its shapes, its size and work, its options, and its first guess."""

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import ModelError
from blitznet.core.models import blitznet300_lite, blitznet300_lite_base, ssd300_lite
from blitznet.core.spec import ALL_TASKS, Fusion, Spec, Task
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.heads import as_convolutions, flatten_predictions
from blitznet.nets.lite import LiteDetectionHead, LiteDetectionPrior, LiteSegmentationHead
from blitznet.nets.mobilenet import MobileNetV2
from blitznet.nets.resize import resize


def lite(**changes: Any) -> Spec:
    base = blitznet300_lite_base()
    return replace(base, network=replace(base.network, **changes))


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    torch.manual_seed(0)
    return build(lite()).eval()


@pytest.mark.parametrize("size", [(300, 300), (225, 385), (64, 96), (33, 47)])
def test_heads_fit_the_anchors(net: BlitzNet, size: tuple[int, int]) -> None:
    spec = lite()
    with torch.inference_mode():
        heads = net(torch.zeros(2, 3, *size))
    count = len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, size)))
    assert heads.offsets is not None
    assert heads.logits is not None
    assert heads.class_map is not None
    assert heads.offsets.shape == (2, count, 4)
    assert heads.logits.shape == (2, count, 21)
    assert heads.class_map.shape == (2, 21, -(-size[0] // 4), -(-size[1] // 4))
    assert size != (300, 300) or count == 11_640


@pytest.mark.parametrize("size", [(300, 300), (225, 385), (33, 47)])
def test_logits_from_the_downscale_stream_are_added(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = build(lite(side=True)).eval()
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        whole = net(images).logits
        down = net.downscale(net.encoder(images))
        up = net.upscale(down)
        assert net.detection is not None
        assert net.ssd_head is not None
        _, logits = net.detection(up)
        torch.testing.assert_close(whole, flatten_predictions(logits, 21) + flatten_predictions(net.ssd_head(down, up)[1], 21))
    assert sum(p.numel() for p in net.ssd_head.parameters()) < 500_000


def test_class_map_takes_what_boxes_say() -> None:
    """Against a slow version: at each pixel of each map the best margin over background, weighed, gated.

    And for the whole image how likely the best anchor of each class makes it.
    """
    torch.manual_seed(0)
    net = build(lite(side=True, guide=True)).eval()
    assert net.detection_prior is not None
    images, per_cell = torch.rand(2, 3, 90, 130), 6
    with torch.inference_mode():
        encoded = net.encoder(images)
        up = net.upscale(net.downscale(encoded))
        assert net.segmentation is not None
        assert isinstance(net.detection_prior, LiteDetectionPrior)
        features, plain = net.segmentation(up, encoded)
        heads = net(images)
        logits = heads.logits
        shares, total, first = net.detection_prior.level_weights(up[0]).sigmoid(), torch.zeros(2, 21, *up[0].shape[-2:]), 0
        for index, x in enumerate(up):
            said = torch.zeros(2, 21, *x.shape[-2:])
            for row in range(x.shape[-2]):
                for column in range(x.shape[-1]):
                    anchors = logits[:, first : first + per_cell]  # (B, P, C)
                    said[:, :, row, column] = (anchors - anchors[..., :1]).max(1).values.clamp(min=0)
                    first += per_cell
            total += shares[:, index, None] * resize(said, (up[0].shape[-2], up[0].shape[-1]), "bilinear")
        assert first == logits.shape[1]
        said = resize(total, (plain.shape[-2], plain.shape[-1]), "bilinear")
        best = torch.stack([(logits[..., c] - logits[..., 0]).max(1).values for c in range(21)], 1)  # (B, C)
        anywhere = torch.log(1 / (1 + torch.exp(-best)) + 0.2)
        anywhere[:, 0] = 0  # background is where nothing is: no box speaks for it
        guided = plain + net.detection_prior.foreground_gate(features).sigmoid() * said + anywhere[..., None, None]
        torch.testing.assert_close(heads.class_map, guided)
        assert (guided - plain).std((2, 3)).max() > 0, "the places of boxes are told"


def test_class_that_no_box_speaks_for_loses_pixels() -> None:
    """By log 6 of odds at most, beside a class that is certainly there; nothing else than that may differ."""
    torch.manual_seed(0)
    net = build(lite(side=True, guide=True)).eval()
    assert isinstance(net.detection_prior, LiteDetectionPrior)
    up = [torch.rand(1, 128, side, side) for side in (38, 19, 10, 5, 3, 1)]
    logits = torch.zeros(1, 6 * sum(x.shape[-1] ** 2 for x in up), 21)
    logits[..., 1:] = -40.0
    features = torch.rand(1, 64, 75, 75)
    with torch.inference_mode():
        none = net.detection_prior(logits, up, features)
        logits[0, 7, 3] = 40.0
        some = net.detection_prior(logits, up, features)
    expected = torch.zeros(21)
    expected[1:] = math.log(0.2)
    torch.testing.assert_close(none, expected[None, :, None, None].expand_as(none))
    others = [c for c in range(21) if c != 3]
    torch.testing.assert_close(some[:, others], none[:, others])
    rise = some[0, 3] - none[0, 3]
    assert rise.min() >= math.log(6) - 1e-5
    assert rise.max() > rise.min() + 0.1, "more where the box is"


def test_masks_do_not_bend_the_scores_of_boxes() -> None:
    net = build(lite(side=True, guide=True)).train()
    assert isinstance(net.detection, LiteDetectionHead)
    for final in net.detection.class_layers():
        assert final.bias is not None
        nn.init.zeros_(final.bias)  # so that some anchors prefer a class
    net(torch.randn(2, 3, 96, 64)).class_map.square().mean().backward()
    assert net.ssd_head is not None
    assert net.detection_prior is not None
    assert all(p.grad is None for p in net.ssd_head.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.detection_prior.parameters())


def test_a_learned_guide_may_count_presence_more_than_a_learning_one() -> None:
    torch.manual_seed(0)
    once, thrice = (build(lite(side=True, guide=True, presence=count)) for count in (1.0, 3.0))
    thrice.load_state_dict(once.state_dict())
    images = torch.randn(2, 3, 96, 64)
    maps = [(net.train()(images).class_map, net.eval()(images)) for net in (once, thrice)]
    torch.testing.assert_close(maps[0][0], maps[1][0])
    logits = maps[0][1].logits
    best = (logits - logits[..., :1]).amax(1)[:, 1:].sigmoid()  # (B, K)
    more = nn.functional.pad(2 * (best + 0.2).log(), (1, 0))[..., None, None]
    torch.testing.assert_close(maps[1][1].class_map, maps[0][1].class_map + more)


def test_taps_add_to_the_class_map_what_they_learned() -> None:
    torch.manual_seed(0)
    net = build(lite(segmentation_taps=16)).train()
    assert isinstance(net.segmentation, LiteSegmentationHead)
    assert isinstance(net.encoder, MobileNetV2)
    images = torch.randn(2, 3, 96, 64)
    net(images).class_map.square().mean().backward()
    lasts = list(as_convolutions(tap.get_submodule("1") for tap in net.segmentation.laterals))
    assert [tuple(last.weight.shape) for last in lasts] == [(128, 16, 1, 1), (128, 16, 1, 1)]
    for last in lasts:
        assert last.weight.grad is not None
        assert last.weight.grad.abs().sum() > 0, "they say nothing at first, and can learn to"
    net.eval()
    with torch.no_grad():
        before = net(images).class_map
        for last in lasts:
            nn.init.normal_(last.weight, std=0.1)
        assert (net(images).class_map - before).abs().max() > 0
        for last in lasts:
            nn.init.zeros_(last.weight)
        torch.testing.assert_close(net(images).class_map, before)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_one_task_needs_no_guide(task: Task) -> None:
    assert build(replace(lite(guide=True), tasks=(task,))).detection_prior is None


def test_predicting_maps(net: BlitzNet) -> None:
    with torch.inference_mode():
        maps = net.upscale(net.downscale(net.encoder(torch.zeros(1, 3, 300, 300))))
    assert [tuple(x.shape) for x in maps] == [(1, 128, side, side) for side in (38, 19, 10, 5, 3, 1)]


@pytest.mark.parametrize(
    ("spec", "parameters", "work"), [(blitznet300_lite_base(), 3.41, 803), (blitznet300_lite(), 4.05, 899)]
)
def test_size_and_work(spec: Spec, parameters: float, work: float) -> None:
    net = build(spec).eval()
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(parameters, abs=0.005)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 300, 300))
    counts = counter.get_flop_counts()
    million = {name: sum(counts[name].values()) / 2e6 for name in ("BlitzNet", "BlitzNet.segmentation")}
    assert million["BlitzNet"] == pytest.approx(work, abs=1)
    assert million["BlitzNet.segmentation"] < 120


def test_the_baseline_predicts_on_the_same_anchors_and_learns() -> None:
    spec = replace(ssd300_lite(), size=(96, 64))
    net = build(spec).train()
    heads = net(torch.randn(2, 3, 96, 64))
    assert heads.class_map is None
    assert heads.offsets.shape == (
        2,
        len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))),
        4,
    )
    (heads.offsets.square().mean() + heads.logits.square().mean()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []
    with pytest.raises(ModelError, match=r"^ssd300-lite: the ssd-lite family has no class map; set tasks to"):
        build(replace(spec, tasks=ALL_TASKS))


@pytest.mark.parametrize("fusion", get_args(Fusion))
@pytest.mark.parametrize("resize", ["bilinear", "nearest", "legacy"])
def test_every_fusion_learns(fusion: Fusion, resize: str) -> None:
    torch.manual_seed(0)
    net = build(lite(fusion=fusion, fusion_resize=resize, segmentation_resize=resize)).train()
    heads = net(torch.randn(2, 3, 96, 64))
    outputs: list[Tensor] = [heads.offsets, heads.logits, heads.class_map]
    torch.stack([x.square().mean() for x in outputs]).sum().backward()  # type: ignore[no-untyped-call]
    # The paper's h is added in two of the four; elsewhere it still makes the pooled map.
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []


def test_one_image_trains() -> None:
    """The pooled map has one cell, of which a batch norm could make nothing."""
    heads = build(lite()).train()(torch.randn(1, 3, 300, 300))
    assert heads.logits is not None
    assert heads.logits.isfinite().all()


def test_class_map_at_the_finest_maps_stride() -> None:
    net = build(lite(segmentation_stride=8)).eval()
    with torch.inference_mode():
        heads = net(torch.zeros(1, 3, 300, 300))
    assert heads.class_map is not None
    assert heads.class_map.shape == (1, 21, 38, 38)


@pytest.mark.parametrize(("tasks", "missing"), [(("detection",), "class_map"), (("segmentation",), "logits")])
def test_one_task(tasks: Any, missing: str) -> None:
    net = build(replace(lite(), tasks=tasks)).eval()
    with torch.inference_mode():
        heads = net(torch.zeros(1, 3, 64, 64))
    given = {name for name in ("offsets", "logits", "class_map") if getattr(heads, name) is not None}
    assert missing not in given
    assert given == ({"offsets", "logits"} if tasks == ("detection",) else {"class_map"})


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "efficientnet-lite2", "resnet18"])
def test_other_encoders(encoder: str) -> None:
    net = build(lite(encoder=encoder)).eval()
    with torch.inference_mode():
        heads = net(torch.zeros(1, 3, 300, 300))
    assert heads.logits is not None
    assert heads.class_map is not None
    assert heads.logits.shape == (1, 11_640, 21)
    assert heads.class_map.shape == (1, 21, 75, 75)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 2}, "predicts at strides .*change `extra` or the anchors"),
        ({"segmentation_stride": 2}, "segmentation_stride must be the finest anchors' 8 or a finer one of"),
        ({"segmentation_stride": 16}, "segmentation_stride must be the finest anchors' 8 or a finer one of"),
        ({"encoder": "vgg16"}, "encoder: expected one of .*, got 'vgg16'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build(lite(**changes))


def test_first_guess_is_background_for_three_of_four() -> None:
    torch.manual_seed(0)
    head = LiteDetectionHead((8, 8), per_cell=6, classes=21).eval()
    _, logits = head((torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 1, 1)))
    background = flatten_predictions(logits, 21).softmax(-1)[..., 0]
    torch.testing.assert_close(background, torch.full_like(background, 0.75), rtol=1e-4, atol=0)


def test_building_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.nets.pretrained_encoder.TRUNK_FILE", None)
    assert isinstance(build(lite()), nn.Module)
