from dataclasses import replace

import numpy as np
import pytest

from blitznet.core.anchors import scales
from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import ModelError
from blitznet.core.models import CAFFE_MEAN, DEFAULT, MODELS, get_spec


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("tiny")])
def test_get_spec_of_every_model(name: str) -> None:
    spec = get_spec(name)
    assert spec.name == name
    assert spec.classes == (COCO if name.endswith("-coco") else VOC)
    deepest = 256 if name in (DEFAULT, "blitznet300-coco", "blitznet416-lite") else 128 * (spec.size[0] // 256)
    assert spec.anchors.strides[-1] == deepest


@pytest.mark.parametrize(
    ("name", "edge", "stride", "extra"),
    [
        ("blitznet300-s8", 300, 8, 3),
        ("blitznet300-s4", 300, 4, 3),
        ("blitznet512-s8", 512, 8, 4),
        ("blitznet512-s4", 512, 4, 4),
    ],
)
def test_specs_of_the_papers_networks(name: str, edge: int, stride: int, extra: int) -> None:
    spec = get_spec(name)
    assert spec.size == (edge, edge)
    assert spec.anchors.strides[0] == spec.network.segmentation_stride == stride
    assert (spec.network.family, spec.network.encoder, spec.network.extra_levels) == (
        "blitznet",
        "resnet50-caffe",
        extra,
    )
    assert (spec.network.channels, spec.network.hidden_channels, spec.network.segmentation_channels) == (512, 128, 64)
    assert (spec.mean, spec.std) == (CAFFE_MEAN, (1.0, 1.0, 1.0))


def test_mean_is_that_of_the_original_implementation() -> None:
    np.testing.assert_allclose(CAFFE_MEAN, (0.482948, 0.454521, 0.404167), atol=1e-6)


@pytest.mark.parametrize("edge", [300, 512])
def test_ssd_has_the_anchors_of_stride_8_and_no_segmentation(edge: int) -> None:
    spec, ours = get_spec(f"ssd{edge}"), get_spec(f"blitznet{edge}-s8")
    assert spec.tasks == ("detection",)
    assert (spec.anchors, spec.size, spec.network.encoder) == (ours.anchors, ours.size, ours.network.encoder)


def test_ssd_lite_differs_in_the_upscale_stream_only() -> None:
    spec, ours = get_spec("ssd300-lite"), get_spec("blitznet300-lite-plain")
    assert spec == replace(
        ours, name=spec.name, tasks=("detection",), network=replace(ours.network, family="ssd-lite", extra_levels=2)
    )


def test_the_default_has_the_anchors_of_ssdlite() -> None:
    spec = get_spec(DEFAULT)
    assert (spec.network.family, spec.network.segmentation_stride) == ("lite-fpn", 8)
    # SSDLite: ssd_anchor_generator with min_scale 0.2, max_scale 0.95 on six maps; the finest map is BlitzNet's
    min_scales = [low for low, _ in scales(spec.anchors)]
    np.testing.assert_allclose(min_scales, [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95])
    assert replace(spec, name="mine").name == "mine"


def test_get_spec_of_an_unknown_name() -> None:
    with pytest.raises(ModelError, match=r"^expected a model from blitznet300-coco, .*, ssd512.*, got 'ssd999'$"):
        get_spec("ssd999")
