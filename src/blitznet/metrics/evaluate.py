"""Evaluation of a predictor or of a result file on datasets: accumulate a state for each set, then compute scores."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.core.field_types import option_error, require_field_types
from blitznet.core.image import ImageSource
from blitznet.core.progress import Progress, no_progress
from blitznet.core.sample import Dataset, Sample
from blitznet.metrics import miou, voc_ap
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.bootstrap import Difference, confidence_intervals, paired_differences, unit_weights
from blitznet.metrics.calibration.ece import box_bins, expected_calibration_error
from blitznet.metrics.coco_ap import coco_ap
from blitznet.metrics.nanmath import mean, none_if_nan
from blitznet.metrics.report import ALL_SETS, ClassScore, DetectionScores, Report, SegmentationScores, SetScores
from blitznet.metrics.results import open_results_writer, read_results
from blitznet.metrics.state import Accumulator, EvaluationState, concatenate
from blitznet.postprocess.result import Result

ImagePredictor: TypeAlias = Callable[[ImageSource], Result]
"""prediction for an image; a `Predictor` is one"""
SamplePredictor: TypeAlias = Callable[[str, Sample], Result]
"""prediction for a sample of the set with this title; `StoredResults.result_for` is one"""


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """How predictions are scored."""

    rule: voc_ap.MatchRule = "devkit"
    """Match boxes by the overlap of the VOC devkit, of the devkit with unconverted predictions, or by IoU above 0.5."""
    tasks: tuple[str, ...] = ("detection", "segmentation")
    """Score these tasks."""
    coco: bool = False
    """Compute COCO's average precision too (needs faster-coco-eval)."""
    calibration: bool = False
    """Compute the expected calibration error of pixels too, which is slow; that of boxes is always computed."""
    bootstrap: int | None = None
    """Draw this many bootstrap samples, such as 200, for 95 % confidence intervals. Without it there are none."""
    seed: int = 0
    """Seed the bootstrap with this number."""

    def __post_init__(self) -> None:
        require_field_types(self, option_error)


DEFAULTS = EvalConfig()


def evaluate(
    predict: ImagePredictor,
    datasets: Sequence[Dataset],
    config: EvalConfig = DEFAULTS,
    *,
    results: Path | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Run a predictor on datasets and score each set, and all sets as one.

    Args:
        predict: Predictor of images; its class names are those of the sets. Of a `Predictor` all detections are used,
            whatever its `min_score`.
        datasets: At least one dataset; `blitznet.data.sources.open_sources` opens them.
        config: Rule, tasks and optional metrics.
        results: File to store the predictions in.
        progress: Called after each image.

    Returns:
        Scores as fractions 0..1; None for what was not measured.

    Raises:
        UsageError: There is no set, a set is repeated, or the class names of the sets differ.
        DataError: The predictor has other classes than the sets, or an image cannot be read.
    """
    if not all(hasattr(dataset, "class_names") for dataset in datasets):
        raise UsageError(
            "evaluate: expected opened datasets, got something else; blitznet.validate takes FORMAT:ROOT@SPLIT"
        )
    titles = _unique_titles(datasets)
    # a predictor of `load` keeps scores of 0.5 and more, but average precision needs all
    predict_all: ImagePredictor = getattr(predict, "all_detections", predict)
    states = accumulate(
        lambda _, sample: predict_all(sample.image), datasets, config, results=results, progress=progress
    )
    return compute_report(titles, states, config)


def accumulate(
    predict: SamplePredictor,
    datasets: Sequence[Dataset],
    config: EvalConfig = DEFAULTS,
    *,
    results: Path | None = None,
    progress: Progress = no_progress,
) -> list[EvaluationState]:
    """The evaluation state of each set, from which scores and error analyses are computed.

    Args:
        predict: Predictor of samples.
        datasets: Datasets with equal class names.
        config: Rule, tasks and optional metrics.
        results: File to store the predictions in.
        progress: Called after each image.

    Raises:
        UsageError: There is no set, or the class names of the sets differ.
        DataError: The predictor has other classes than the sets, or an image cannot be read.
    """
    class_names = _common_class_names(datasets)
    total, done, states = sum(len(dataset) for dataset in datasets), 0, []
    with ExitStack() as stack:
        writer = None
        if results is not None:
            writer = stack.enter_context(open_results_writer(results, class_names, config.tasks))
        for dataset in datasets:
            accumulator = Accumulator(
                class_names=class_names,
                rule=config.rule,
                detection="detection" in config.tasks,
                segmentation="segmentation" in config.tasks,
                calibration=config.calibration,
            )
            for index in range(len(dataset)):
                sample = dataset[index]
                result = predict(dataset.title, sample)
                if writer is not None:
                    writer.add(dataset.title, sample, result)
                accumulator.update(result, sample)
                done += 1
                progress("images", done, total)
            states.append(accumulator.compute())
    return states


def compare_results(
    first: Path, second: Path, datasets: Sequence[Dataset], config: EvalConfig = DEFAULTS, *, rounds: int = 200
) -> dict[str, Difference]:
    """Paired comparison of two result files on all sets as one.

    Both are scored with the same weights of the images, so images that are hard for both do not widen the interval.

    Args:
        first: Result file of the baseline.
        second: Result file that is compared with it.
        datasets: Datasets, named as when the files were written.
        config: Rule, tasks and seed.
        rounds: Bootstrap rounds.

    Returns:
        Difference `second - first` of `ap50_area`, `ap50_frequent` and `miou`, those that both files have.
    """
    states = []
    for path in (first, second):
        stored = read_results(path)
        tasks = tuple(task for task in config.tasks if task in stored.tasks)
        states.append(concatenate(accumulate(stored.result_for, datasets, replace(config, tasks=tasks))))
    return paired_differences(states[0], states[1], rounds, config.seed)


def compute_report(titles: Sequence[str], states: Sequence[EvaluationState], config: EvalConfig = DEFAULTS) -> Report:
    """The report on sets from their states."""
    sets = tuple(compute_scores(title, state, config) for title, state in zip(titles, states, strict=True))
    if len(sets) == 1:
        return Report(total=sets[0], sets=sets)
    return Report(total=compute_scores(ALL_SETS, concatenate(states), config), sets=sets)


def compute_scores(title: str, state: EvaluationState, config: EvalConfig = DEFAULTS) -> SetScores:
    """All scores of one set from its state."""
    intervals = confidence_intervals(state, config.bootstrap, config.seed) if config.bootstrap is not None else {}
    return SetScores(
        title=title,
        images=state.num_images,
        detection=_detection_scores(state, config),
        segmentation=_segmentation_scores(state),
        intervals=intervals,
    )


def _detection_scores(state: EvaluationState, config: EvalConfig) -> DetectionScores:
    if not state.has_boxes:
        return DetectionScores(without_objects=_detections_without_objects(state))
    weights, curves = unit_weights(state.num_images), state.curves
    class_ap = np.concatenate([voc_ap.average_precision(curve, weights) for curve in curves])  # (K,)
    eleven_point = np.concatenate([voc_ap.eleven_point_ap(curve, weights) for curve in curves])
    frequent = list(voc_ap.classes_with_objects(curves, voc_ap.FREQUENT_OBJECTS))
    coco = coco_ap(state.predictions, state.objects, state.sizes, len(state.class_names)) if config.coco else None
    return DetectionScores(
        ap50_11point=_mean(eleven_point),
        ap50_area=_mean(class_ap),
        ap50_frequent=_mean(class_ap[frequent]),
        coco_ap=coco and coco[0],
        coco_ap50=coco and coco[1],
        calibration_error=expected_calibration_error(box_bins(state.predictions, state.objects, state.rule)),
        per_class={
            state.class_names[label]: ClassScore(score=float(class_ap[label]), count=len(curves[label].object_image))
            for label in voc_ap.classes_with_objects(curves)
        },
        without_objects=_detections_without_objects(state),
    )


def _detections_without_objects(state: EvaluationState) -> dict[str, int]:
    """Confident detections of each class that has no object: no score counts them."""
    if state.confident_detections is None:
        return {}
    with_objects = set(voc_ap.classes_with_objects(state.curves)) if state.has_boxes else set()
    return {
        name: int(count)
        for label, (name, count) in enumerate(zip(state.class_names, state.confident_detections, strict=True))
        if count and label not in with_objects
    }


def _segmentation_scores(state: EvaluationState) -> SegmentationScores:
    if not len(state.confusions):
        return SegmentationScores()
    ious = miou.class_iou(state.confusions.sum(0, dtype=np.int64))  # (C,)
    image_counts = (state.confusions.sum(2) > 0).sum(0)  # (C,)
    return SegmentationScores(
        miou=_mean(ious),
        calibration_error=expected_calibration_error(state.pixel_bins.sum(0)),
        per_class={
            name: ClassScore(score=float(iou), count=int(count))
            for name, iou, count in zip(("background", *state.class_names), ious, image_counts, strict=True)
            if count
        },
        without_pixels={
            name: float(pixels / state.predicted_pixels.sum())
            for name, pixels, count in zip(state.class_names, state.predicted_pixels[1:], image_counts[1:], strict=True)
            if pixels and not count
        }
        if state.predicted_pixels is not None
        else {},
    )


def _mean(values: Float64Array) -> float | None:
    return none_if_nan(float(mean(values)))


def _common_class_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    if not datasets:
        raise UsageError("evaluation: expected at least one dataset, got none")
    class_names = tuple(datasets[0].class_names)
    for dataset in datasets[1:]:
        if tuple(dataset.class_names) != class_names:
            raise UsageError(
                f"{dataset.title}: expected the classes of {datasets[0].title}, got others; "
                "map all sets onto the model's classes"
            )
    return class_names


def _unique_titles(datasets: Sequence[Dataset]) -> list[str]:
    titles = [dataset.title for dataset in datasets]
    repeated = [title for title, count in Counter(titles).items() if count > 1]
    if repeated:
        raise UsageError(f"{repeated[0]}: expected each dataset once, got it twice; remove one")
    return titles
