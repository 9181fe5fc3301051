from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.anchors import scales
from blitznet.core.classes import VOC
from blitznet.core.errors import ModelError
from blitznet.core.models import CAFFE_MEAN, DEFAULT, MODELS, get_spec


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("tiny")])
def test_every_model_says_its_name(name: str) -> None:
    spec = get_spec(name)
    assert spec.name == name
    assert spec.classes == VOC
    deepest = 256 if name in (DEFAULT, "blitznet416-lite") else 128 * (spec.size[0] // 256)
    assert spec.anchors.strides[-1] == deepest


@pytest.mark.parametrize(
    ("name", "side", "stride", "extra"),
    [
        ("blitznet300-s8", 300, 8, 3),
        ("blitznet300-s4", 300, 4, 3),
        ("blitznet512-s8", 512, 8, 4),
        ("blitznet512-s4", 512, 4, 4),
    ],
)
def test_the_papers_networks(name: str, side: int, stride: int, extra: int) -> None:
    spec = get_spec(name)
    assert spec.size == (side, side)
    assert spec.anchors.strides[0] == spec.network.segmentation_stride == stride
    assert (spec.network.family, spec.network.encoder, spec.network.extra_levels) == (
        "blitznet",
        "resnet50-caffe",
        extra,
    )
    assert (spec.network.channels, spec.network.hidden_channels, spec.network.segmentation_channels) == (512, 128, 64)
    assert (spec.mean, spec.std) == (CAFFE_MEAN, (1.0, 1.0, 1.0))


def test_the_mean_is_the_releases() -> None:
    np.testing.assert_allclose(CAFFE_MEAN, (0.482948, 0.454521, 0.404167), atol=1e-6)


@pytest.mark.parametrize("side", [300, 512])
def test_the_baseline_has_the_anchors_of_stride_8_and_boxes_only(side: int) -> None:
    spec, ours = get_spec(f"ssd{side}"), get_spec(f"blitznet{side}-s8")
    assert spec.tasks == ("detection",)
    assert (spec.anchors, spec.size, spec.network.encoder) == (ours.anchors, ours.size, ours.network.encoder)


def test_the_light_baseline_differs_in_the_upscale_stream_alone() -> None:
    spec, ours = get_spec("ssd300-lite"), get_spec("blitznet300-lite-plain")
    assert spec == replace(
        ours, name=spec.name, tasks=("detection",), network=replace(ours.network, family="ssd-lite", extra_levels=2)
    )


def test_the_default() -> None:
    spec = get_spec(DEFAULT)
    assert spec.network.family == "lite"
    assert (spec.network.ssd_head, spec.network.ssd_box_head, spec.network.detection_prior) == (True, True, True)
    # SSDLite's: ssd_anchor_generator with min_scale 0.2, max_scale 0.95 on six maps; the finest is ours
    found = [low for low, _ in scales(spec.anchors)]
    np.testing.assert_allclose(found, [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
    assert replace(spec, name="mine").name == "mine"


def test_a_name_that_is_none() -> None:
    with pytest.raises(ModelError, match=r"^there is no model 'ssd999'; named models are blitznet300-lite, .*, ssd512"):
        get_spec("ssd999")
