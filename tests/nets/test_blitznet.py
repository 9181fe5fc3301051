from dataclasses import replace

import pytest
import torch
from torch import nn

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.classes import COCO
from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.core.spec import ALL_TASKS, Fusion, Spec, Task
from blitznet.nets.blitznet import build
from support.small_networks import on_meta, small_spec, trained

PAPER = ["blitznet300-s8", "blitznet300-s4", "blitznet512-s8", "blitznet512-s4"]


@pytest.mark.parametrize(
    ("name", "classes", "pieces", "total"),
    [  # encoder, extra blocks, upscale, offsets, logits, 1x1 and 3x3 of the class map
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
def test_size_is_the_papers(name: str, classes: int, pieces: tuple[int, ...], total: int) -> None:
    net = on_meta(replace(get_spec(name), classes=COCO[:classes]))
    heads = [
        net.get_submodule(part)
        for part in ("detection.offsets", "detection.logits", "segmentation.reduce", "segmentation.classifier")
    ]
    assert tuple(trained(part) for part in (net.encoder, net.downscale, net.upscale, *heads)) == pieces
    assert trained(net) == total


@pytest.mark.parametrize(
    ("name", "kernels", "statistics", "count"),
    [
        ("blitznet300-s8", 58_230_848, 98_688, 106),
        ("blitznet300-s4", 59_278_208, 100_224, 112),
        ("blitznet512-s8", 68_420_480, 112_512, 118),
        ("blitznet512-s4", 69_467_840, 114_048, 124),
    ],
)
def test_kernels_and_statistics(name: str, kernels: int, statistics: int, count: int) -> None:
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
def test_sides_of_the_downscale_stream(name: str, sides: tuple[int, ...]) -> None:
    spec = get_spec(name)
    net = on_meta(spec)
    maps = net.downscale(net.encoder(torch.empty(1, 3, *spec.size, device="meta")))
    assert tuple(x.shape[-1] for x in maps) == sides


@pytest.mark.parametrize(
    ("name", "anchors", "side"),
    [
        ("blitznet300-s8", 11_640, 38),
        ("blitznet300-s4", 45_390, 75),
        ("blitznet512-s8", 32_766, 64),
        ("blitznet512-s4", 131_070, 128),
        ("ssd300", 11_640, None),
        ("ssd512", 32_766, None),
    ],
)
def test_answers_of_the_named_models(name: str, anchors: int, side: int | None) -> None:
    spec = get_spec(name)
    heads = on_meta(spec)(torch.empty(1, 3, *spec.size, device="meta"))
    assert heads.offsets.shape == (1, anchors, 4)
    assert heads.logits.shape == (1, anchors, 21)
    assert (heads.class_map is None) if side is None else (heads.class_map.shape == (1, 21, side, side))


@pytest.mark.parametrize("name", [*PAPER, "ssd300"])
@pytest.mark.parametrize("size", [(300, 500), (97, 131), (64, 33), (640, 384)])
def test_any_size_meets_its_anchors(name: str, size: tuple[int, int]) -> None:
    spec = get_spec(name)
    heads = on_meta(spec)(torch.empty(2, 3, *size, device="meta"))
    assert heads.offsets.shape[1] == len(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, size)))


@pytest.mark.parametrize("tasks", [("detection",), ("segmentation",), ALL_TASKS])
@pytest.mark.parametrize("fusion", ["resskip", "resskip-plain", "hourglass", "refine"])
def test_tasks_choose_the_heads_only(tasks: tuple[Task, ...], fusion: Fusion) -> None:
    base = small_spec()
    spec = replace(base, tasks=tasks, network=replace(base.network, fusion=fusion))
    net = on_meta(spec)
    heads = net(torch.empty(1, 3, 64, 96, device="meta"))
    assert (heads.offsets is not None) == (heads.logits is not None) == ("detection" in tasks)
    assert (heads.class_map is not None) == ("segmentation" in tasks)
    whole = on_meta(replace(spec, tasks=ALL_TASKS))
    assert trained(net.upscale) == trained(whole.upscale)


def test_every_weight_learns() -> None:
    torch.manual_seed(0)
    net = build(small_spec())
    heads = net(torch.randn(2, 3, 80, 64))
    total = heads.offsets.square().sum() + heads.logits.square().sum() + heads.class_map.square().sum()
    total.backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


def strided(spec: Spec) -> Spec:
    return replace(spec, network=replace(spec.network, extra_levels=2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(get_spec("ssd300"), tasks=ALL_TASKS), "ssd300: the ssd family has no class map"),
        (
            strided(get_spec("blitznet300-s8")),
            r"with 2 extra blocks predicts at strides \(4, 8, 16, 32, 64\), the anchors",
        ),
        (
            replace(get_spec("blitznet300-s8"), network=get_spec("blitznet300-s4").network),
            "finest map's stride 8, came segmentation_stride 4",
        ),
    ],
)
def test_what_cannot_be_built(spec: Spec, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        on_meta(spec)
