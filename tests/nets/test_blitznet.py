from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.classes import COCO
from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.core.spec import ALL_TASKS, Fusion, Spec, Task
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model, save_model
from support.small_networks import fpn_spec, lite_spec_with_additions, num_parameters, on_meta, small_spec

PAPER = ["blitznet300-s8", "blitznet300-s4", "blitznet512-s8", "blitznet512-s4"]


@pytest.mark.parametrize(
    ("name", "num_classes", "parts", "total"),
    [  # encoder, downscale, upscale, offsets, logits, 1x1 and 3x3 of the segmentation head
        ("blitznet300-s8", 20, (23508032, 26775552, 3629568, 663696, 3484404, 196992, 72597), 58330841),
        ("blitznet300-s4", 20, (23508032, 26775552, 3942400, 774312, 4065138, 229824, 84693), 59379951),
        ("blitznet512-s8", 20, (23508032, 35700736, 4171776, 774312, 4065138, 229824, 84693), 68534511),
        ("blitznet512-s4", 20, (23508032, 35700736, 4484608, 884928, 4645872, 262656, 96789), 69583621),
        ("blitznet300-s8", 80, (23508032, 26775552, 3629568, 663696, 13439844, 196992, 280017), 68493701),
        ("blitznet300-s4", 80, (23508032, 26775552, 3942400, 774312, 15679818, 229824, 326673), 71236611),
        ("blitznet512-s8", 80, (23508032, 35700736, 4171776, 774312, 15679818, 229824, 326673), 80391171),
        ("blitznet512-s4", 80, (23508032, 35700736, 4484608, 884928, 17919792, 262656, 373329), 83134081),
    ],
)
def test_parameters_are_those_of_the_paper(name: str, num_classes: int, parts: tuple[int, ...], total: int) -> None:
    net = on_meta(replace(get_spec(name), classes=COCO[:num_classes]))
    layers = [
        net.get_submodule(name)
        for name in ("detection.offsets", "detection.logits", "segmentation.reduce", "segmentation.classifier")
    ]
    assert tuple(num_parameters(part) for part in (net.encoder, net.downscale, net.upscale, *layers)) == parts
    assert num_parameters(net) == total


@pytest.mark.parametrize(
    ("name", "kernels", "statistics", "count"),
    [
        ("blitznet300-s8", 58_230_848, 98_688, 106),
        ("blitznet300-s4", 59_278_208, 100_224, 112),
        ("blitznet512-s8", 68_420_480, 112_512, 118),
        ("blitznet512-s4", 69_467_840, 114_048, 124),
    ],
)
def test_kernels_and_norm_statistics(name: str, kernels: int, statistics: int, count: int) -> None:
    net = on_meta(get_spec(name))
    convs = [part.weight.numel() for part in net.modules() if isinstance(part, nn.Conv2d)]
    running = [value.numel() for key, value in net.named_buffers() if ".running_" in f".{key}"]
    assert (sum(convs), sum(running)) == (kernels, statistics)
    assert len(convs) == count


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("blitznet300-s4", (75, 38, 19, 10, 5, 3, 2)),
        ("blitznet512-s4", (128, 64, 32, 16, 8, 4, 2, 1)),
    ],
)
def test_downscale_stream_halves_and_rounds_up(name: str, sides: tuple[int, ...]) -> None:
    spec = get_spec(name)
    net = on_meta(spec)
    maps = net.downscale(net.encoder(torch.empty(1, 3, *spec.size, device="meta")))
    assert tuple(x.shape[-1] for x in maps) == sides


@pytest.mark.parametrize(
    ("name", "num_anchors", "side"),
    [
        ("blitznet300-s8", 11_640, 38),
        ("blitznet300-s4", 45_390, 75),
        ("blitznet512-s8", 32_766, 64),
        ("blitznet512-s4", 131_070, 128),
        ("ssd300", 11_640, None),
        ("ssd512", 32_766, None),
    ],
)
def test_outputs_of_the_named_models(name: str, num_anchors: int, side: int | None) -> None:
    spec = get_spec(name)
    outputs = on_meta(spec)(torch.empty(1, 3, *spec.size, device="meta"))
    assert outputs.offsets.shape == (1, num_anchors, 4)
    assert outputs.logits.shape == (1, num_anchors, 21)
    assert (
        (outputs.segmentation_logits is None)
        if side is None
        else (outputs.segmentation_logits.shape == (1, 21, side, side))
    )


@pytest.mark.parametrize("name", [*PAPER, "ssd300"])
@pytest.mark.parametrize("size", [(300, 500), (97, 131), (64, 33), (640, 384)])
def test_any_image_size_has_a_row_for_each_anchor(name: str, size: tuple[int, int]) -> None:
    spec = get_spec(name)
    outputs = on_meta(spec)(torch.empty(2, 3, *size, device="meta"))
    assert outputs.offsets.shape[1] == len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, size)))


@pytest.mark.parametrize("tasks", [("detection",), ("segmentation",), ALL_TASKS])
@pytest.mark.parametrize("fusion", ["resskip", "resskip-plain", "hourglass", "refine"])
def test_tasks_select_the_heads_only(tasks: tuple[Task, ...], fusion: Fusion) -> None:
    base = small_spec()
    spec = replace(base, tasks=tasks, network=replace(base.network, fusion=fusion))
    net = on_meta(spec)
    outputs = net(torch.empty(1, 3, 64, 96, device="meta"))
    assert (outputs.offsets is not None) == (outputs.logits is not None) == ("detection" in tasks)
    assert (outputs.segmentation_logits is not None) == ("segmentation" in tasks)
    full = on_meta(replace(spec, tasks=ALL_TASKS))
    assert num_parameters(net.upscale) == num_parameters(full.upscale)


def test_every_parameter_has_a_gradient() -> None:
    torch.manual_seed(0)
    net = build(small_spec())
    outputs = net(torch.randn(2, 3, 80, 64))
    total = outputs.offsets.square().sum() + outputs.logits.square().sum() + outputs.segmentation_logits.square().sum()
    total.backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


def with_two_extra_levels(spec: Spec) -> Spec:
    return replace(spec, network=replace(spec.network, extra_levels=2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            replace(get_spec("ssd300"), tasks=ALL_TASKS),
            "ssd300: expected tasks of the ssd family, which has no class map, got",
        ),
        (
            with_two_extra_levels(get_spec("blitznet300-s8")),
            r"expected maps of the anchors' strides .*, got \(4, 8, 16, 32, 64\) from \S+ with 2 extra levels",
        ),
        (
            replace(get_spec("blitznet300-s8"), network=get_spec("blitznet300-s4").network),
            "expected segmentation_stride 8, the finest map's, got 4",
        ),
    ],
)
def test_build_rejects_specs_that_do_not_fit(spec: Spec, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        on_meta(spec)


@pytest.mark.parametrize("spec", [small_spec(), lite_spec_with_additions(), fpn_spec()], ids=["paper", "lite", "fpn"])
def test_masked_classes_have_no_probability_in_any_family(spec: Spec, tmp_path: Path) -> None:
    first, second = spec.classes[:2]
    spec = replace(spec, size=(64, 64), detection_classes=(first,), segmentation_classes=(second,))
    torch.manual_seed(0)
    save_model(tmp_path / "m.safetensors", build(spec), spec)  # the masks are no weights: the file rebuilds them
    net = load_model(tmp_path / "m.safetensors")[0].eval()
    with torch.no_grad():
        outputs = net(torch.zeros(1, 3, 64, 64))
    assert outputs.logits is not None
    assert outputs.segmentation_logits is not None
    boxes, pixels = outputs.logits.softmax(2).amax((0, 1)), outputs.segmentation_logits.softmax(1).amax((0, 2, 3))
    assert boxes[[0, 1]].min() > 0
    assert boxes[2:].max() == 0
    assert pixels[[0, 2]].min() > 0
    assert pixels[1] == 0


def test_boxes_do_not_change_pixels_of_classes_without_boxes() -> None:
    spec = replace(lite_spec_with_additions(), size=(64, 64))
    torch.manual_seed(0)
    net, masked = build(spec).eval(), build(replace(spec, detection_classes=spec.classes[:1])).eval()
    masked.load_state_dict(net.state_dict())
    net.detection_prior = None  # without it, the pixels depend on their own head only
    with torch.no_grad():
        plain, restricted = (n(torch.ones(1, 3, 64, 64)).segmentation_logits for n in (net, masked))
    assert plain is not None
    assert restricted is not None
    assert torch.equal(plain[:, 2:], restricted[:, 2:])
    assert not torch.equal(plain[:, 1], restricted[:, 1])
