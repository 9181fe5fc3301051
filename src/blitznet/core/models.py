"""The named models: one function for each spec, which states what differs from the model it builds on.

The `blitznet` and `ssd` models are the paper's (sections 3 and 4.2), with the numbers of the original implementation.
The `lite` models are this project's own.
"""

from collections.abc import Callable
from dataclasses import replace

from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import ModelError
from blitznet.core.spec import AnchorLayout, Network, Spec

DEFAULT = "blitznet300-lite"
"""the model that is used where none is named"""
DEFAULT_MIN_SCORE = 0.5
"""minimum score of detections that commands and predictors of `load` keep; evaluation keeps all"""

CAFFE_MEAN = (123.151630838 / 255, 115.902882574 / 255, 103.062623801 / 255)
"""RGB mean of the original ResNet-50 weights, converted from Caffe; their standard deviation is 1"""

Normalization = tuple[tuple[float, float, float], tuple[float, float, float]]
"""mean and standard deviation, RGB 0..1"""
_CAFFE: Normalization = (CAFFE_MEAN, (1.0, 1.0, 1.0))
_TORCHVISION: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_TENSORFLOW: Normalization = ((127 / 255,) * 3, (128 / 255,) * 3)
_HALF: Normalization = ((0.5,) * 3, (0.5,) * 3)

SSDLITE_STRIDES = (8, 16, 32, 64, 128, 256)
"""strides for which the anchors of the last six maps equal SSDLite's"""

NORMALIZATIONS: dict[str, Normalization] = {
    "resnet50-caffe": _CAFFE,
    "resnet18": _TORCHVISION,
    "resnet34": _TORCHVISION,
    "resnet50": _TORCHVISION,
    "resnet101": _TORCHVISION,
    "efficientnet-lite0": _TENSORFLOW,
    "efficientnet-lite2": _TENSORFLOW,
    "mobilenetv2-ssdlite": _HALF,
}
"""encoder -> input normalization of its published weights"""


def blitznet300_s8() -> Spec:
    """The paper's network at 300 px, last upscale layer at stride 8: 11,640 anchors."""
    return Spec(
        name="blitznet300-s8",
        classes=VOC,
        size=(300, 300),
        anchors=AnchorLayout(strides=(8, 16, 32, 64, 128), min_scale=0.1, second_scale=0.2, max_scale=0.95),
        network=Network(family="blitznet", encoder="resnet50-caffe", extra_levels=3),
        mean=CAFFE_MEAN,
    )


def blitznet300_s4() -> Spec:
    """The paper's network at 300 px, last upscale layer at stride 4: 45,390 anchors."""
    base = blitznet300_s8()
    return replace(
        base,
        name="blitznet300-s4",
        anchors=AnchorLayout(strides=(4, 8, 16, 32, 64, 128), min_scale=0.04, second_scale=0.1, max_scale=0.95),
        network=replace(base.network, segmentation_stride=4),
    )


def blitznet512_s8() -> Spec:
    """The paper's network at 512 px, last upscale layer at stride 8: 32,766 anchors."""
    base = blitznet300_s8()
    return replace(
        base,
        name="blitznet512-s8",
        size=(512, 512),
        anchors=AnchorLayout(strides=(8, 16, 32, 64, 128, 256), min_scale=0.04, second_scale=0.1, max_scale=0.95),
        network=replace(base.network, extra_levels=4),
    )


def blitznet512_s4() -> Spec:
    """The paper's network at 512 px, last upscale layer at stride 4: 131,070 anchors. It exceeded the authors' GPU."""
    base = blitznet512_s8()
    return replace(
        base,
        name="blitznet512-s4",
        anchors=AnchorLayout(strides=(4, 8, 16, 32, 64, 128, 256), min_scale=0.02, second_scale=0.08, max_scale=0.95),
        network=replace(base.network, segmentation_stride=4),
    )


def ssd300() -> Spec:
    """The baseline of Table 1: SSD on the same encoder, no upscale stream, boxes only."""
    base = blitznet300_s8()
    return replace(
        base, name="ssd300", tasks=("detection",), network=replace(base.network, family="ssd", extra_levels=2)
    )


def ssd512() -> Spec:
    """The baseline at 512 px."""
    base = blitznet512_s8()
    return replace(
        base, name="ssd512", tasks=("detection",), network=replace(base.network, family="ssd", extra_levels=3)
    )


def blitznet300_lite() -> Spec:
    """The default: SSDLite's encoder, anchors and heads, a feature pyramid, and a class map at stride 8."""
    base = blitznet300_lite_plain()
    return replace(
        base,
        name="blitznet300-lite",
        anchors=replace(base.anchors, strides=SSDLITE_STRIDES),
        network=Network(
            family="lite-fpn",
            encoder="mobilenetv2-ssdlite",
            extra_levels=4,
            channels=128,
            segmentation_stride=8,
            context_blocks=2,
            detection_prior=True,
            image_prior_weight=0.5,
        ),
    )


def blitznet416_lite() -> Spec:
    """The larger light network: the default at 416 px."""
    base = blitznet300_lite()
    return replace(
        base,
        name="blitznet416-lite",
        size=(416, 416),
        anchors=replace(base.anchors, min_scale=0.085, second_scale=0.17, max_scale=0.85),
    )


def blitznet300_coco() -> Spec:
    """The default with the 80 classes of COCO, all of which SSDLite's heads know."""
    base = blitznet300_lite()
    network = replace(base.network, image_prior_weight=3.0)
    return replace(base, name="blitznet300-coco", classes=COCO, network=network)


def blitznet300_lite_plain() -> Spec:
    """The paper's streams and heads as depthwise-separable blocks, on SSDLite's MobileNetV2 and extra layers."""
    return Spec(
        name="blitznet300-lite-plain",
        classes=VOC,
        size=(300, 300),
        anchors=AnchorLayout(strides=(8, 16, 32, 64, 128), min_scale=0.1, second_scale=0.2, max_scale=0.95),
        network=Network(
            family="lite",
            encoder="mobilenetv2-ssdlite",
            extra_levels=3,
            channels=128,
            hidden_channels=64,
            segmentation_channels=48,
            segmentation_stride=4,
        ),
        mean=_HALF[0],
        std=_HALF[1],
    )


def ssd300_lite() -> Spec:
    """The light network's baseline: heads on the downscale stream, no upscale stream, boxes only."""
    base = blitznet300_lite_plain()
    network = replace(base.network, family="ssd-lite", extra_levels=2)
    return replace(base, name="ssd300-lite", tasks=("detection",), network=network)


MODELS: dict[str, Callable[[], Spec]] = {
    "blitznet300-coco": blitznet300_coco,
    "blitznet300-lite": blitznet300_lite,
    "blitznet300-lite-plain": blitznet300_lite_plain,
    "blitznet300-s4": blitznet300_s4,
    "blitznet300-s8": blitznet300_s8,
    "blitznet416-lite": blitznet416_lite,
    "blitznet512-s4": blitznet512_s4,
    "blitznet512-s8": blitznet512_s8,
    "ssd300": ssd300,
    "ssd300-lite": ssd300_lite,
    "ssd512": ssd512,
}


def with_encoder(spec: Spec, encoder: str) -> Spec:
    """A spec with another encoder, and the input normalization of that encoder's weights."""
    if encoder not in NORMALIZATIONS:
        raise ModelError(f"expected an encoder from {', '.join(NORMALIZATIONS)}, got '{encoder}'")
    mean, std = NORMALIZATIONS[encoder]
    return replace(spec, network=replace(spec.network, encoder=encoder), mean=mean, std=std)


def get_spec(name: str) -> Spec:
    """The spec of a named model.

    Raises:
        ModelError: There is no such model.
    """
    if name not in MODELS:
        raise ModelError(f"expected a model from {', '.join(MODELS)}, got '{name}'")
    return MODELS[name]()
