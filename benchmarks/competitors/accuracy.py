"""Accuracy of blitznet and of the networks of other projects on the same images, by the same rules.

AP50 (VOC devkit rule, pooled over three sets, classes with 20 or more objects), COCO's AP, and mean IoU, with 95 %
intervals. COCO's AP is over VOC's 20 classes, which all networks know, and over the 80 of COCO for those that know
them. Mean IoU over COCO's classes has a baseline: boxes above the default score, filled with their classes. The other
projects' networks are float32 and have the post-processing of their reference code.

`python -m benchmarks.competitors.accuracy --json accuracy.json`
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from benchmarks._lib.results import DATA, Table, print_results, require_images, write_json
from benchmarks.competitors.networks import COMPETITORS, PEERS, Competitor, CompetitorPredictor, Setup
from blitznet.api import load
from blitznet.cli.console import progress_bars
from blitznet.core.classes import COCO, VOC
from blitznet.core.image import ImageSource
from blitznet.core.models import DEFAULT, DEFAULT_MIN_SCORE
from blitznet.data.mapping import MappedDataset
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import EvalConfig, ImagePredictor, evaluate
from blitznet.metrics.report import SetScores
from blitznet.postprocess.result import Result, Segmentation
from blitznet.runtime.threads import available_threads

BOX_SETS = ("voc:{root}/VOCdevkit/VOC2012@val", "voc:{root}/VOCdevkit/VOC2007@test", "coco:{root}/coco@rare")
COCO_SETS = ("coco:{root}/coco@val", "coco:{root}/coco@rare")
MASK_SETS = BOX_SETS[:1]
COCO_MASK_SETS = COCO_SETS[:1]
NUM_SAMPLES = 200
"""bootstrap samples"""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    models: tuple[str, ...] = (DEFAULT, "blitznet416-lite")
    """blitznet models: names or files. Default: both light models."""
    competitors: tuple[str, ...] = tuple(item.title for item in COMPETITORS)
    """Networks of other projects. Default: all."""
    threads: int = available_threads()
    """Threads. Default: one per core."""
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    peers: Path = PEERS
    """Folder of the competitors. Default: ../shared/peers."""
    json: Path | None = None


@dataclass(frozen=True)
class Scored:
    """A network's scores; None where it lacks the task or the classes."""

    title: str
    pooled: SetScores | None
    coco20: SetScores | None
    coco80: SetScores | None
    masks: SetScores | None
    masks80: SetScores | None = None
    filled80: SetScores | None = None
    """of filled boxes"""


class CompetitorResults:
    """A competitor as a predictor of Results."""

    def __init__(self, competitor: Competitor, options: Options, class_names: Sequence[str]) -> None:
        setup = Setup("onnxruntime", "float32", options.threads)
        self.predictor = CompetitorPredictor(competitor, setup, options.peers, class_names=class_names)
        self.class_names = tuple(class_names)
        self.segments = competitor.title == "DeepLab"

    def __call__(self, image: ImageSource) -> Result:
        """Boxes of a detector, class map of a segmenter."""
        prediction = self.predictor(image.read())
        if self.segments:
            empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
            return Result(*empty, self.class_names, image.size(), segmentation=Segmentation.from_class_map(prediction))
        boxes, scores, labels = prediction
        return Result(boxes, scores.astype(np.float32), labels, self.class_names, image.size())


class FilledBoxes:
    """A predictor whose class map is that of filled boxes, the best scores on top."""

    def __init__(self, predict: ImagePredictor, min_score: float = DEFAULT_MIN_SCORE) -> None:
        self.predict, self.min_score = predict, min_score

    def __call__(self, image: ImageSource) -> Result:
        """The boxes, and the class map that they fill."""
        result = self.predict(image)
        class_map = np.zeros(image.size(), np.uint8)
        for index in np.argsort(result.scores, kind="stable"):
            if result.scores[index] >= self.min_score:
                x1, y1, x2, y2 = result.boxes[index].round().astype(int)
                class_map[max(y1, 0) : y2, max(x1, 0) : x2] = result.labels[index] + 1
        return replace(result, segmentation=Segmentation.from_class_map(class_map))


def main(options: Options) -> None:
    """Score all networks, print and write."""
    require_images(options.root)
    scored = [score_model(name, options) for name in options.models]
    scored += [score_competitor(item, options) for item in COMPETITORS if item.title in options.competitors]
    rows = [
        (
            item.title,
            cell(item.pooled, "ap50_frequent"),
            cell(item.coco20, "coco_ap"),
            cell(item.coco80, "coco_ap"),
            cell(item.masks, "miou"),
            cell(item.masks80, "miou"),
            cell(item.filled80, "miou"),
        )
        for item in scored
    ]
    columns = (
        *("network", "pooled AP50", "COCO AP, 20 classes", "COCO AP, 80 classes", "mIoU"),
        *("mIoU, 80 classes", "boxes filled, 80 classes"),
    )
    table = Table("accuracy on the same images", columns, rows)
    print_results([table])
    write_json(options.json, options, tables=[table])


def score_model(name: str, options: Options) -> Scored:
    """The scores of a blitznet model on the classes that it knows."""
    predictor = load(name, threads=options.threads)
    names = predictor.spec.classes
    coco = score(predictor, COCO_SETS, names, options, coco=True)
    if len(names) == len(COCO):
        masks, filled = (
            score(predict, COCO_MASK_SETS, names, options) for predict in (predictor, FilledBoxes(predictor))
        )
        return Scored(name, None, None, coco, None, masks, filled)
    pooled, masks = (score(predictor, sets, names, options) for sets in (BOX_SETS, MASK_SETS))
    return Scored(name, pooled, coco, None, masks)


def score_competitor(competitor: Competitor, options: Options) -> Scored:
    """The scores of a network of another project."""
    voc = CompetitorResults(competitor, options, VOC)
    if voc.segments:
        return Scored(competitor.title, None, None, None, score(voc, MASK_SETS, VOC, options))
    all_classes = CompetitorResults(competitor, options, COCO)
    return Scored(
        competitor.title,
        score(voc, BOX_SETS, VOC, options),
        score(voc, COCO_SETS, VOC, options, coco=True),
        score(all_classes, COCO_SETS, COCO, options, coco=True),
        None,
        filled80=score(FilledBoxes(all_classes), COCO_MASK_SETS, COCO, options),
    )


def score(
    predict: ImagePredictor, texts: Sequence[str], names: tuple[str, ...], options: Options, *, coco: bool = False
) -> SetScores:
    """The scores over all sets as one."""
    datasets: list[MappedDataset] = open_sources([text.replace("{root}", str(options.root)) for text in texts], names)
    tasks = ("segmentation",) if texts in (MASK_SETS, COCO_MASK_SETS) else ("detection",)
    config = EvalConfig(tasks=tasks, coco=coco, bootstrap=None if coco else NUM_SAMPLES)
    with progress_bars() as progress:
        return evaluate(predict, datasets, config, progress=progress).total


def cell(scores: SetScores | None, name: str) -> str:
    """A score with both ends of its interval, percent."""
    if scores is None:
        return "-"
    value = scores.segmentation.miou if name == "miou" else getattr(scores.detection, name)
    if value is None:
        return "-"
    ends = scores.intervals.get(name)
    return f"{100 * value:.1f}" + (f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})" if ends else "")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
