"""Evidence: everything about the predictions on a set of images that any figure is made of, images numbered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from blitznet.core.errors import DataError
from blitznet.core.sample import Sample
from blitznet.metrics import miou, voc_ap
from blitznet.metrics.calibration.ece import BINS, pixel_bins
from blitznet.metrics.matching import (
    Numbers,
    ObjectTable,
    PredictionTable,
    Reals,
    join_detections,
    join_objects,
    object_table,
    prediction_table,
)
from blitznet.metrics.nanmath import mean
from blitznet.postprocess.result import Result


@dataclass(frozen=True, eq=False)
class EvaluationState:
    """What predictions and truth say about each other on N images; every figure is computed from it."""

    class_names: tuple[str, ...]
    """K class names"""
    images: int
    """N"""
    sizes: Numbers
    """(N, 2) height, width"""
    boxed: bool
    """some image has annotated boxes, and boxes were predicted"""
    found: PredictionTable
    objects: ObjectTable
    mapped: Numbers
    """images whose class map could be compared (F,)"""
    tables: Numbers
    """(F, C, C) their confusions"""
    certain: Reals
    """(F, 3, BINS) how certain their painted pixels are; (0, 3, BINS) where nobody asked or it was not to be had"""
    rule: voc_ap.Rule = "devkit"

    @cached_property
    def curves(self) -> tuple[voc_ap.Curve, ...]:
        """One for each class."""
        return voc_ap.curves(self.found, self.objects, len(self.class_names), self.rule)

    def statistics(self, weights: Numbers) -> Mapping[str, Reals]:
        """The figures that get intervals, (R,) each, when image n counts weights[r, n] times; weights (R, N)."""
        several = voc_ap.occurring(self.curves, voc_ap.POOLED_OBJECTS)
        areas = np.stack([voc_ap.area(curve, weights) for curve in self.curves], -1)  # (R, K)
        return {
            "ap50_area": mean(areas),
            "ap50_pooled": mean(areas[:, list(several)]),
            "miou": miou.mean_iou(self.tables, weights[:, self.mapped]),
        }


def concatenate(parts: Sequence[EvaluationState]) -> EvaluationState:
    """Several sets as one; their class names and rule are the same."""
    starts = np.cumsum([0, *(part.images for part in parts)]).tolist()[:-1]
    return EvaluationState(
        class_names=parts[0].class_names,
        images=sum(part.images for part in parts),
        sizes=np.concatenate([part.sizes for part in parts]),
        boxed=any(part.boxed for part in parts),
        found=join_detections((start, part.found) for start, part in zip(starts, parts, strict=True)),
        objects=join_objects((start, part.objects) for start, part in zip(starts, parts, strict=True)),
        mapped=np.concatenate([part.mapped + start for start, part in zip(starts, parts, strict=True)]),
        tables=np.concatenate([part.tables for part in parts]),
        certain=np.concatenate([part.certain for part in parts]),
        rule=parts[0].rule,
    )


@dataclass(eq=False)
class Collector:
    """Takes the images of a set one by one and keeps what scoring needs: pixels are counted, not kept."""

    class_names: tuple[str, ...]
    rule: voc_ap.Rule = "devkit"
    detection: bool = True
    """boxes were asked of the predictor"""
    segmentation: bool = True
    """class maps were asked of the predictor"""
    calibration: bool = False
    """count how certain pixels are too"""
    _sizes: list[tuple[int, int]] = field(default_factory=list, repr=False)
    _boxed: bool = field(default=False, repr=False)
    _found: list[tuple[int, PredictionTable]] = field(default_factory=list, repr=False)
    _objects: list[tuple[int, ObjectTable]] = field(default_factory=list, repr=False)
    _mapped: list[int] = field(default_factory=list, repr=False)
    _tables: list[Numbers] = field(default_factory=list, repr=False)
    _certain: list[Reals] = field(default_factory=list, repr=False)

    def update(self, result: Result, sample: Sample) -> None:
        """Add one image; DataError if the answer's classes or the class map's size are not the truth's."""
        if result.class_names != self.class_names:
            raise DataError(
                f"{sample.id}: expected a prediction of the data's {len(self.class_names)} classes ({_some(self.class_names)}), "
                f"came {len(result.class_names)} ({_some(result.class_names)}); map the data onto the model's classes"
            )
        number = len(self._sizes)
        self._sizes.append(result.size)
        if self.detection and sample.annotated_box_classes.any():
            self._boxed = True
            self._found.append((0, prediction_table(number, result, sample)))
            self._objects.append((0, object_table(number, sample)))
        if self.segmentation and sample.annotated_mask_classes.any():
            self._compare_maps(number, result, sample)

    def _compare_maps(self, number: int, result: Result, sample: Sample) -> None:
        truth = sample.class_map()
        if truth is None or result.class_map is None:
            return
        try:
            table = miou.confusion(truth, result.class_map, sample.annotated_mask_classes)
        except DataError as error:
            raise DataError(f"{sample.id}: {error}") from error
        self._mapped.append(number)
        self._tables.append(table.astype(np.int32))  # a image has fewer than 2**31 pixels
        if self.calibration and result.confidence is not None:
            self._certain.append(pixel_bins(truth, result.class_map, result.confidence, sample.annotated_mask_classes))

    def evidence(self) -> EvaluationState:
        """What was collected so far."""
        side = len(self.class_names) + 1
        return EvaluationState(
            class_names=self.class_names,
            images=len(self._sizes),
            sizes=np.asarray(self._sizes, np.int64).reshape(-1, 2),
            boxed=self._boxed,
            found=join_detections(self._found),
            objects=join_objects(self._objects),
            mapped=np.asarray(self._mapped, np.int64),
            tables=np.concatenate([np.zeros((0, side, side), np.int64), *(t[None] for t in self._tables)]),
            certain=np.concatenate([np.zeros((0, 3, BINS)), *(t[None] for t in self._certain)]),
            rule=self.rule,
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
