"""The loop over images, from a predictor or a result file to a Report."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.metrics import miou, voc_ap
from blitznet.metrics.bootstrap import Difference, intervals, once, paired
from blitznet.metrics.calibration.ece import box_bins, calibration_error
from blitznet.metrics.coco_ap import coco_ap
from blitznet.metrics.evidence import Collector, EvaluationState, concatenate
from blitznet.metrics.matching import Reals
from blitznet.metrics.nanmath import mean
from blitznet.metrics.report import ClassScore, DetectionScores, Interval, Report, Scores, SegmentationScores
from blitznet.metrics.results import read_results, writing
from blitznet.postprocess.result import Result


class Dataset(Protocol):
    """What is asked of a data set here: a title, class names and samples whose labels index them."""

    @property
    def title(self) -> str:
        """As the user named it."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """K class names."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


Predict: TypeAlias = Callable[[ImageSource], Result]
Answer: TypeAlias = Callable[[str, Sample], Result]
"""what is predicted for a sample of the set with this title"""
Watch: TypeAlias = Callable[[int, int], None]
"""called after every image with how many are done, and of how many"""


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """How predictions are scored."""

    rule: voc_ap.Rule = "devkit"
    """which overlaps are a match"""
    tasks: tuple[str, ...] = ("detection", "segmentation")
    """what the predictor was asked for; the figures of the other are None"""
    coco: bool = False
    """COCO's average precision as well (needs faster-coco-eval)"""
    calibration: bool = False
    """count how certain pixels are too, which is slow; boxes' calibration comes for nothing"""
    bootstrap: int = 0
    """draws for the 95 % intervals; 0 for none"""
    seed: int = 0
    """of the draws"""


DEFAULTS = EvalConfig()


def evaluate(
    predict: Predict,
    datasets: Sequence[Dataset],
    options: EvalConfig = DEFAULTS,
    *,
    results: Path | None = None,
    watch: Watch | None = None,
) -> Report:
    """Predict every image of the sets and score each set, and all as one.

    The sets must have the predictor's class names. `results` is a file to write the predictions to.
    """
    titles = _titles(datasets)
    return report(titles, look(predict, datasets, options, results=results, watch=watch), options)


def look(
    predict: Predict,
    datasets: Sequence[Dataset],
    options: EvalConfig = DEFAULTS,
    *,
    results: Path | None = None,
    watch: Watch | None = None,
) -> list[EvaluationState]:
    """Predict every image of the sets and keep the evidence of each set; `results` as above."""
    with ExitStack() as stack:
        names, answer = _common_names(datasets), asking(predict)
        if results is not None:
            writer = stack.enter_context(writing(results, names, options.tasks))
            answer = _noting(answer, writer.add)
        return gather(answer, datasets, options, watch=watch)


def evaluate_file(path: Path, datasets: Sequence[Dataset], options: EvalConfig = DEFAULTS) -> Report:
    """Score the predictions of a result file; the tasks are those it was written for."""
    return report(_titles(datasets), _gather_file(path, datasets, options), options)


def compare(
    first: Path, second: Path, datasets: Sequence[Dataset], options: EvalConfig = DEFAULTS, *, rounds: int = 200
) -> dict[str, Difference]:
    """How far the second result file is ahead of the first: ap50_area, ap50_pooled and miou of all sets as one.

    The same images are drawn for both, so that what is hard for both does not blur the difference.
    """
    sides = [concatenate(_gather_file(path, datasets, options)) for path in (first, second)]
    return paired(sides[0].statistics, sides[1].statistics, sides[0].images, rounds, options.seed)


def gather(
    answer: Answer, datasets: Sequence[Dataset], options: EvalConfig = DEFAULTS, *, watch: Watch | None = None
) -> list[EvaluationState]:
    """The evidence of every set, image by image."""
    _common_names(datasets)
    total, done, parts = sum(len(dataset) for dataset in datasets), 0, []
    for dataset in datasets:
        collector = Collector(
            class_names=tuple(dataset.class_names),
            rule=options.rule,
            detection="detection" in options.tasks,
            segmentation="segmentation" in options.tasks,
            calibration=options.calibration,
        )
        for sample in _samples(dataset):
            collector.update(answer(dataset.title, sample), sample)
            done += 1
            if watch is not None:
                watch(done, total)
        parts.append(collector.evidence())
    return parts


def report(titles: Sequence[str], evidence: Sequence[EvaluationState], options: EvalConfig = DEFAULTS) -> Report:
    """The report on sets whose evidence is gathered."""
    sets = tuple(score(title, part, options) for title, part in zip(titles, evidence, strict=True))
    if len(sets) == 1:
        return Report(total=sets[0], sets=sets)
    return Report(total=score("all as one", concatenate(evidence), options), sets=sets)


def score(title: str, evidence: EvaluationState, options: EvalConfig = DEFAULTS) -> Scores:
    """All figures of one set."""
    return Scores(
        title=title,
        images=evidence.images,
        detection=_detection(evidence, options),
        segmentation=_segmentation(evidence),
        intervals=_intervals(evidence, options),
    )


def _intervals(evidence: EvaluationState, options: EvalConfig) -> dict[str, Interval]:
    if not options.bootstrap:
        return {}
    return intervals(evidence.statistics, evidence.images, options.bootstrap, options.seed)


def _detection(evidence: EvaluationState, options: EvalConfig) -> DetectionScores:
    if not evidence.boxed:
        return DetectionScores()
    weights, curves = once(evidence.images), evidence.curves
    areas = np.concatenate([voc_ap.area(curve, weights) for curve in curves])  # (K,)
    eleven = np.concatenate([voc_ap.eleven_point(curve, weights) for curve in curves])
    several = list(voc_ap.occurring(curves, voc_ap.POOLED_OBJECTS))
    coco = (
        coco_ap(evidence.found, evidence.objects, evidence.sizes, len(evidence.class_names)) if options.coco else None
    )
    return DetectionScores(
        ap50_11point=_mean(eleven),
        ap50_area=_mean(areas),
        ap50_pooled=_mean(areas[several]),
        coco_ap=coco and coco[0],
        coco_ap50=coco and coco[1],
        calibration_error=calibration_error(box_bins(evidence.found, evidence.objects, evidence.rule)),
        per_class={
            evidence.class_names[label]: ClassScore(score=float(areas[label]), count=len(curves[label].objects))
            for label in voc_ap.occurring(curves)
        },
    )


def _segmentation(evidence: EvaluationState) -> SegmentationScores:
    if not len(evidence.tables):
        return SegmentationScores()
    shares = miou.class_iou(evidence.tables.sum(0, dtype=np.int64))  # (C,)
    shown = (evidence.tables.sum(2) > 0).sum(0)  # (C,) images
    return SegmentationScores(
        miou=_mean(shares),
        calibration_error=calibration_error(evidence.certain.sum(0)),
        per_class={
            name: ClassScore(score=float(share), count=int(count))
            for name, share, count in zip(("background", *evidence.class_names), shares, shown, strict=True)
            if count
        },
    )


def _mean(values: Reals) -> float | None:
    value = float(mean(values))
    return None if np.isnan(value) else value


def _gather_file(path: Path, datasets: Sequence[Dataset], options: EvalConfig) -> list[EvaluationState]:
    stored = read_results(path)
    tasks = tuple(task for task in options.tasks if task in stored.tasks)
    return gather(stored.answer, datasets, replace(options, tasks=tasks))


def _common_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    if not datasets:
        raise UsageError("evaluation: expected at least one data set, got none")
    names = tuple(datasets[0].class_names)
    for dataset in datasets[1:]:
        if tuple(dataset.class_names) != names:
            raise UsageError(
                f"{dataset.title}: expected the classes of {datasets[0].title}, got others; "
                "map all sets onto the model's classes"
            )
    return names


def _titles(datasets: Sequence[Dataset]) -> list[str]:
    titles = [dataset.title for dataset in datasets]
    twice = [title for title, count in Counter(titles).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]}: the same data set is given twice; name each once")
    return titles


def _samples(dataset: Dataset) -> Iterator[Sample]:
    for index in range(len(dataset)):
        yield dataset[index]


def asking(predict: Predict) -> Answer:
    """The predictor's answers."""

    def answer(title: str, sample: Sample) -> Result:
        del title  # a predictor sees the image only
        return predict(sample.image)

    return answer


def _noting(answer: Answer, note: Callable[[str, Sample, Result], None]) -> Answer:
    def noted(title: str, sample: Sample) -> Result:
        result = answer(title, sample)
        note(title, sample, result)
        return result

    return noted
