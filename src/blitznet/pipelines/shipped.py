"""The pipelines of the packaged models.

The default starts from SSDLite's published weights, the larger model from the default. They train on the datasets of
the recipe `lite`, with the class scores of DeepLabV3 as soft labels of all images. A twentieth of the training images
is held out; scores are calibrated on it.
Expected scores are over VOC2012@val, VOC2007@test and coco@rare as one set.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from blitznet.core.classes import COCO, VOC
from blitznet.pipelines.pipeline import (
    CalibrateStage,
    Pipeline,
    QuantizeStage,
    SoftLabelStage,
    Stage,
    TrainStage,
    WiseFtStage,
)
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import VOC07, VOC12, lite_config

DEEPLAB = "{root}/../peers/deeplabv3_mnv2_voc_513.onnx"
"""the teacher: DeepLabV3 on MobileNetV2, trained on COCO and VOC (google-coral/test_data, Apache-2.0)"""
HOLDOUT = 0.05
"""fraction of the training images that is not trained on"""
SSDLITE_FRACTION, COCO_SSDLITE_FRACTION = 0.25, 0.5
"""weight of SSDLite's weights in the layers that come from it, after the training; chosen on the held-out images"""
_DATA = tuple(
    text.replace("coco@train,sample_weight=2", "coco@train,sample_weight=3")
    + (",sample_weight=2" if text.endswith("coco@boxes") else "")
    for text in lite_config().data
)
"""the sets of the recipe `lite`, with more images of COCO: they have small objects, and SSDLite's heads know them"""
_COCO_DATA = (
    f"{VOC12}@train",
    f"{VOC07}@trainval",
    "coco:{root}/coco@train,sample_weight=5",
    "coco:{root}/coco@boxes,sample_weight=3",
)
"""the sets with all classes of VOC or COCO; nearly half of the samples have labels of all 80 classes"""
_HELD_OUT = (f"{VOC12}@train", f"{VOC07}@trainval")
_QUANTIZATION = (f"{VOC12}@train", f"{VOC07}@trainval")
_SSDLITE_MAPS = range(1, 7)
"""levels of the detection head that start as SSDLite's"""
_SSDLITE_FEATURES = ("detection.class_features", "detection.box_features")
_SSDLITE_HEADS = (
    *_SSDLITE_FEATURES,
    *(f"detection.{layer}.{level}" for layer in ("logits", "offsets") for level in _SSDLITE_MAPS),
)


def _config(model: str, **fields: Any) -> TrainConfig:
    """Options of all stages: the recipe `lite`; pretrained modules are trained at a quarter of the learning rate."""
    base = replace(
        lite_config(),
        model=model,
        init="ssdlite",
        data=_DATA,
        class_names=VOC,
        holdout=HOLDOUT,
        policy="strong",
        val=(),
        lr=8e-4,
        encoder_lr_mult=0.25,
        frozen_stages=1,
        freeze_bn=("encoder", "downscale", *_SSDLITE_FEATURES),
        warmup=100,
        segmentation_weight=1.0,
        soft_label_weight=2.0,
        mask_stride=4,
        precision="float32",
        save_every=200,
    )
    return replace(base, **fields)


def _blitznet300_lite() -> Pipeline:
    """The default model."""
    return Pipeline(
        name="blitznet300-lite",
        stages=_stages(_from_ssdlite("blitznet300-lite"), _HELD_OUT, initial_fraction=SSDLITE_FRACTION),
        data=lite_config().val,
        expected={"ap50_area": 0.61, "ap50_frequent": 0.61, "miou": 0.63},
        cost="2 CPU cores, 2 hours",
    )


def _blitznet300_coco() -> Pipeline:
    """The default's network with the 80 classes of COCO. VOC's sets annotate twenty of them; the others are unknown.

    SSDLite learned the 80 classes from a hundred times as many images. Its modules are therefore trained very gently.
    Few images have masks of all classes, so boxes teach the class map, too. The segmentation loss is computed at the
    stride of the logits, because of 81 channels.
    """
    model = "blitznet300-coco"
    config = replace(_from_ssdlite(model), class_names=COCO, data=_COCO_DATA, steps=4500, encoder_lr_mult=0.05)
    config = replace(config, mask_stride=None, box_segmentation_weight=1.0, seed=2)
    return Pipeline(
        name=model,
        stages=_stages(
            config,
            (*_HELD_OUT, "coco:{root}/coco@train", "coco:{root}/coco@boxes"),
            initial_fraction=COCO_SSDLITE_FRACTION,
        ),
        data=("coco:{root}/coco@val", "coco:{root}/coco@rare"),
        cost="2 CPU cores, 2 hours",
    )


def _from_ssdlite(model: str) -> TrainConfig:
    """Training from SSDLite: its heads are trained as gently as its encoder and distilled, to keep what they know."""
    return _config(
        model,
        steps=5300,
        lr=1e-3,
        encoder_lr_mult=0.15,
        encoder_lr_modules=("encoder", "downscale", *_SSDLITE_HEADS),
        distillation=1.0,
        distillation_every=2,
        precision="bfloat16",
    )


def _blitznet416_lite() -> Pipeline:
    """The larger model: the default's weights, trained further at 416 px."""
    model = "blitznet416-lite"
    config = _config(model, init="model", steps=3500, lr=4e-4, seed=1)
    config = replace(config, model="blitznet300-lite", imgsz=(416, 416), anchor_scales=(0.085, 0.17, 0.85))
    return Pipeline(
        name=model,
        stages=_stages(config, _HELD_OUT),
        data=lite_config().val,
        expected={"ap50_area": 0.63, "ap50_frequent": 0.63, "miou": 0.64},
        cost="2 CPU cores, 2 hours after the default model's pipeline",
    )


def _stages(
    config: TrainConfig, calibration: tuple[str, ...], initial_fraction: float | None = None
) -> tuple[Stage, ...]:
    """Soft labels of the teacher, one training, calibration on the held-out images of some sets, and int8.

    With `initial_fraction`, that part of SSDLite's weights is mixed in again after the training.
    """
    mixed = (
        ()
        if initial_fraction is None
        else (WiseFtStage("wise-ft", "joint", initial_fraction, config.encoder_lr_modules),)
    )
    return (
        SoftLabelStage("soft-labels", teacher=DEEPLAB, data=config.data),
        TrainStage("joint", config, soft_labels="soft-labels"),
        *mixed,
        CalibrateStage("calibrated", model=mixed[-1].name if mixed else "joint", data=calibration, holdout=HOLDOUT),
        QuantizeStage("int8", model="calibrated", data=_QUANTIZATION, allow_accuracy_drop=True),
    )


PIPELINES: dict[str, Callable[[], Pipeline]] = {
    "blitznet300-coco": _blitznet300_coco,
    "blitznet300-lite": _blitznet300_lite,
    "blitznet416-lite": _blitznet416_lite,
}
"""all pipelines by name"""
