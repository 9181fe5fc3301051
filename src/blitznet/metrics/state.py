"""Evaluation state: everything about a set's predictions and annotations that metrics are computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.sample import Sample
from blitznet.metrics import miou, voc_ap
from blitznet.metrics.arrays import Float64Array, Int64Array
from blitznet.metrics.bootstrap import effective_images
from blitznet.metrics.calibration.ece import ECE_BINS, pixel_bins
from blitznet.metrics.matching import (
    ObjectTable,
    PredictionTable,
    concatenate_objects,
    concatenate_predictions,
    object_table,
    prediction_table,
)
from blitznet.postprocess.result import Result

CONFIDENT_SCORE = 0.5
"""score from which detections of classes without any object are counted"""


@dataclass(frozen=True, eq=False)
class EvaluationState:
    """Predictions and annotations of N numbered images. F of them have a class map that could be compared."""

    class_names: tuple[str, ...]
    """(K,) class names"""
    num_images: int
    """N"""
    sizes: Int64Array
    """(N, 2) height, width"""
    has_boxes: bool
    """whether boxes were predicted, and at least one image has annotated boxes"""
    predictions: PredictionTable
    objects: ObjectTable
    mask_images: Int64Array
    """(F,) images whose class map was compared"""
    confusions: Int64Array
    """(F, C, C) their confusion matrices"""
    pixel_bins: Float64Array
    """(F, 3, ECE_BINS) calibration bins of their pixels; (0, 3, ECE_BINS) if not requested or without confidence"""
    rule: voc_ap.MatchRule = "devkit"
    confident_detections: Int64Array | None = None
    """(K,) detections with a score of `CONFIDENT_SCORE` or more on all images, annotated or not; None if not counted"""
    predicted_pixels: Int64Array | None = None
    """(C,) predicted pixels on the images whose class map was compared; None if not counted"""

    @cached_property
    def curves(self) -> tuple[voc_ap.PrecisionRecallCurve, ...]:
        """One precision-recall curve for each class."""
        return voc_ap.precision_recall_curves(self.predictions, self.objects, len(self.class_names), self.rule)

    @cached_property
    def _frequent(self) -> list[int]:
        return list(voc_ap.classes_with_objects(self.curves, voc_ap.FREQUENT_OBJECTS))

    def class_values(self, weights: Float64Array) -> Mapping[str, Float64Array]:
        """The metrics with confidence intervals, by class, when image n has weight weights[r, n].

        Args:
            weights: (R, N).

        Returns:
            `ap50_area` (R, K), `ap50_frequent` (R, its classes) and `miou` (R, C); a metric is the mean of its row.
        """
        class_ap = np.stack([voc_ap.average_precision(curve, weights) for curve in self.curves], -1)  # (R, K)
        return {
            "ap50_area": class_ap,
            "ap50_frequent": class_ap[:, self._frequent],
            "miou": miou.weighted_iou(self.confusions, weights[:, self.mask_images]),
        }

    @cached_property
    def effective_images(self) -> Mapping[str, Float64Array]:
        """Effective number of images of every class of `class_values`, by objects or by pixels."""
        counts = [np.bincount(curve.object_image, minlength=self.num_images) for curve in self.curves]
        box_images = effective_images(np.stack(counts, -1).astype(np.float64))  # (K,)
        mask_images = effective_images(self.confusions.sum(2).astype(np.float64))  # (C,)
        return {"ap50_area": box_images, "ap50_frequent": box_images[self._frequent], "miou": mask_images}


def concatenate(states: Sequence[EvaluationState]) -> EvaluationState:
    """Several sets as one; all have the same class names and rule."""
    offsets = np.cumsum([0, *(state.num_images for state in states)]).tolist()[:-1]
    pairs = list(zip(offsets, states, strict=True))
    return EvaluationState(
        class_names=states[0].class_names,
        num_images=sum(state.num_images for state in states),
        sizes=np.concatenate([state.sizes for state in states]),
        has_boxes=any(state.has_boxes for state in states),
        predictions=concatenate_predictions((offset, state.predictions) for offset, state in pairs),
        objects=concatenate_objects((offset, state.objects) for offset, state in pairs),
        mask_images=np.concatenate([state.mask_images + offset for offset, state in pairs]),
        confusions=np.concatenate([state.confusions for state in states]),
        pixel_bins=np.concatenate([state.pixel_bins for state in states]),
        rule=states[0].rule,
        confident_detections=_sum([state.confident_detections for state in states]),
        predicted_pixels=_sum([state.predicted_pixels for state in states]),
    )


def _sum(counts: Sequence[Int64Array | None]) -> Int64Array | None:
    """The sum of the counts; None if none was counted."""
    counted = [count for count in counts if count is not None]
    return np.asarray(np.sum(counted, 0), np.int64) if counted else None


@dataclass(eq=False)
class Accumulator:
    """Collects the state of a set image by image; class maps are reduced to their confusion matrix."""

    class_names: tuple[str, ...]
    rule: voc_ap.MatchRule = "devkit"
    detection: bool = True
    """whether boxes are predicted"""
    segmentation: bool = True
    """whether class maps are predicted"""
    calibration: bool = False
    """whether to bin the confidence of pixels"""
    _sizes: list[tuple[int, int]] = field(default_factory=list, repr=False)
    _has_boxes: bool = field(default=False, repr=False)
    _predictions: list[tuple[int, PredictionTable]] = field(default_factory=list, repr=False)
    _objects: list[tuple[int, ObjectTable]] = field(default_factory=list, repr=False)
    _mask_images: list[int] = field(default_factory=list, repr=False)
    _confusions: list[Int64Array] = field(default_factory=list, repr=False)
    _pixel_bins: list[Float64Array] = field(default_factory=list, repr=False)
    _confident_labels: list[Int64Array] = field(default_factory=list, repr=False)
    _predicted_pixels: list[Int64Array] = field(default_factory=list, repr=False)

    def update(self, result: Result, sample: Sample) -> None:
        """Add the prediction for one image.

        Raises:
            DataError: The classes or the size of the class map differ between prediction and set.
        """
        if result.class_names != self.class_names:
            raise DataError(
                f"{sample.id}: expected a prediction of the data's {len(self.class_names)} classes "
                f"({_abbreviated(self.class_names)}), got {len(result.class_names)} "
                f"({_abbreviated(result.class_names)}); map the data onto the model's classes"
            )
        image = len(self._sizes)
        self._sizes.append(result.size)
        if self.detection:
            self._confident_labels.append(result.labels[result.scores >= CONFIDENT_SCORE])
        if self.detection and sample.annotated_box_classes.any():
            self._has_boxes = True
            self._predictions.append((0, prediction_table(image, result, sample)))
            self._objects.append((0, object_table(image, sample)))
        if self.segmentation and sample.annotated_mask_classes.any():
            self._update_masks(image, result, sample)

    def _update_masks(self, image: int, result: Result, sample: Sample) -> None:
        truth, annotated = sample.class_map(), sample.annotated_mask_classes
        if truth is None or result.class_map is None:
            return
        try:
            confusion = miou.confusion_matrix(truth, result.class_map, annotated)
        except DataError as error:
            raise DataError(f"{sample.id}: {error}") from error
        self._mask_images.append(image)
        self._predicted_pixels.append(np.bincount(result.class_map.ravel(), minlength=len(confusion)))
        self._confusions.append(confusion.astype(np.int32))  # an image has fewer than 2**31 pixels
        if self.calibration and result.confidence is not None:
            self._pixel_bins.append(pixel_bins(truth, result.class_map, result.confidence, annotated))

    def compute(self) -> EvaluationState:
        """The state of all images so far."""
        channels = len(self.class_names) + 1
        confusions = [np.zeros((0, channels, channels), np.int64), *(matrix[None] for matrix in self._confusions)]
        return EvaluationState(
            class_names=self.class_names,
            num_images=len(self._sizes),
            sizes=np.asarray(self._sizes, np.int64).reshape(-1, 2),
            has_boxes=self._has_boxes,
            predictions=concatenate_predictions(self._predictions),
            objects=concatenate_objects(self._objects),
            mask_images=np.asarray(self._mask_images, np.int64),
            confusions=np.concatenate(confusions),
            pixel_bins=np.concatenate([np.zeros((0, 3, ECE_BINS)), *(bins[None] for bins in self._pixel_bins)]),
            rule=self.rule,
            confident_detections=np.bincount(
                np.concatenate([np.zeros(0, np.int64), *self._confident_labels]), minlength=channels - 1
            ),
            predicted_pixels=np.sum([np.zeros(channels, np.int64), *self._predicted_pixels], 0),
        )


def _abbreviated(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
