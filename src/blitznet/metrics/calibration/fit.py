"""Fit of both calibrations of a model, Platt scaling and temperature scaling, on labeled images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from blitznet.core.arrays import Floats, Size
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset, Sample
from blitznet.core.spec import Spec
from blitznet.metrics.calibration.ece import detection_outcomes, pixel_bins
from blitznet.metrics.calibration.platt import PlattFit, PlattFitter
from blitznet.metrics.calibration.temperature import TEMPERATURES, TemperatureFit, TemperatureFitter
from blitznet.metrics.matching import object_table, prediction_table
from blitznet.postprocess.confidence import pixel_confidence
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.upsample import upsample_argmax


@dataclass(frozen=True, slots=True, eq=False)
class RawPrediction:
    """Outputs of the network for one image."""

    outputs: Outputs | NmsOutputs
    """outputs of a batch of one"""
    size: Size
    """(H, W) of the image"""
    input_size: Size
    """(h, w) of the network's input"""


RawPredictor: TypeAlias = Callable[[ImageSource], RawPrediction]
"""inference without post-processing"""


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """Calibration of each task; None without the task or without annotations of it."""

    boxes: PlattFit | None
    pixels: TemperatureFit | None


def fit_calibration(
    predict: RawPredictor, spec: Spec, datasets: Sequence[Dataset], progress: Progress = no_progress
) -> CalibrationFit:
    """Fit Platt scaling of box scores and the softmax temperature of the segmentation logits.

    Args:
        predict: Inference of the model without post-processing.
        spec: The model's spec; a calibration in it is not used.
        datasets: Labeled images that the model was not trained on.
        progress: Called after each image.

    Raises:
        UsageError: The model has NMS inside.
        DataError: Only one image has annotations.
    """
    boxes, pixels, raw_spec = PlattFitter(), TemperatureFitter(), spec.uncalibrated()
    total, number = sum(len(dataset) for dataset in datasets), 0
    for dataset in datasets:
        for index in range(len(dataset)):
            sample = dataset[index]
            _update(boxes, pixels, number, predict(sample.image), sample, raw_spec)
            number += 1
            progress("images", number, total)
    return CalibrationFit(boxes.fit(), pixels.fit())


def _update(
    boxes: PlattFitter, pixels: TemperatureFitter, number: int, prediction: RawPrediction, sample: Sample, spec: Spec
) -> None:
    outputs = prediction.outputs
    if not isinstance(outputs, Outputs):
        raise UsageError(
            "calibration: expected a model without NMS inside, got one with it; calibrate its .safetensors file and "
            "export that"
        )
    if "detection" in spec.tasks and sample.annotated_box_classes.any():
        result = postprocess(outputs, 0, spec, size=prediction.size, input_size=prediction.input_size)
        tables = prediction_table(0, result, sample), object_table(0, sample)
        boxes.update(number, *detection_outcomes(*tables, "devkit"))
    if outputs.segmentation_logits is not None and sample.annotated_mask_classes.any():
        _update_pixels(pixels, number, outputs.segmentation_logits[0], sample)


def _update_pixels(pixels: TemperatureFitter, number: int, logits: Floats, sample: Sample) -> None:
    """Add an image's pixels at every temperature."""
    truth = sample.class_map()
    if truth is None:
        return
    size = (truth.shape[0], truth.shape[1])
    class_map = upsample_argmax(logits, size)
    for index, temperature in enumerate(TEMPERATURES):
        confidence = pixel_confidence(logits, size, temperature)
        pixels.update(number, index, pixel_bins(truth, class_map, confidence, sample.annotated_mask_classes))


def calibrate_spec(spec: Spec, fit: CalibrationFit) -> Spec:
    """The spec with the fitted calibration; a task without a fit keeps its own.

    The score threshold is calibrated too, so the same detections pass it.

    Raises:
        UsageError: No task has a fit.
    """
    if fit.boxes is None and fit.pixels is None:
        raise UsageError("calibration: expected datasets with boxes or masks, got none; name others with --data")
    temperature = spec.segmentation_temperature if fit.pixels is None else fit.pixels.temperature
    if fit.boxes is None:
        return replace(spec, segmentation_temperature=temperature)
    raw = spec.uncalibrated()
    threshold = float(fit.boxes.scaling.apply(np.array([raw.postprocess.score_threshold], np.float32))[0])
    return replace(
        raw,
        score_calibration=fit.boxes.scaling,
        segmentation_temperature=temperature,
        postprocess=replace(raw.postprocess, score_threshold=float(f"{threshold:.9g}")),
    )
