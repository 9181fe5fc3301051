"""Can the networks learn at all? Eight real images by heart, boxes and masks at once, as the evaluation scores them.

`blitznet300-s8` begins with random weights, the default with its published trunk. Images are only resized,
never cropped, turned or recoloured; the first eight in the order of the list, each with a class the others
before it lack, one to four objects, none of them `difficult` or smaller than a twentieth of the image, and a
mask with VOC's own void borders: a class map at a stride of 8 pixels cannot follow anything thinner.

`python benchmarks/overfit.py --json overfit.json`
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.boxes import area
from blitznet.core.models import get_spec
from blitznet.core.sample import Sample
from blitznet.data.dataset import Dataset
from blitznet.data.sources import open_sources
from blitznet.nets.blitznet import BlitzNet
from blitznet.train.config import Precision, TrainConfig
from blitznet.train.initialize import make_network
from learning import Chosen, batches, learn, score
from report import DATA, percent, require_images, say, show, write

WANTED_AP50, WANTED_MIOU = 0.95, 0.90
LEAST = 0.05
"""of the image's area, the smallest object's box"""
COMMON = TrainConfig(policy="plain", batch=8, workers=0, weight_decay=0.0, warmup=20, clip=10.0, log_every=25)
CONFIGS = {
    "blitznet300-s8": replace(
        COMMON, model="blitznet300-s8", start="random", optimizer="adam", lr=3e-4, steps=600, precision="bfloat16"
    ),
    "blitznet300-lite": replace(
        COMMON, model="blitznet300-lite", start="encoder", lr=1.2e-3, encoder_lr=0.4, steps=600, precision="bfloat16"
    ),
}


@dataclass(frozen=True)
class Options:
    """What is learned."""

    models: tuple[str, ...] = tuple(CONFIGS)
    images: int = 8
    steps: int = 0
    """at most; 0: the model's own limit"""
    every: int = 25
    """steps between evaluations"""
    precision: Precision | None = None
    """float32 or bfloat16, where it is not to be the model's own"""
    threads: int = 0
    """of torch, 0: one a core"""
    seed: int = 0
    root: Path = DATA
    json: Path | None = None


@dataclass(frozen=True)
class Row:
    """How one model ended."""

    model: str
    start: str
    steps: int
    seconds: float
    """of training; evaluations are not counted"""
    ap50: float
    miou: float
    reached: bool


def choose(dataset: Dataset, count: int) -> Chosen:
    """The images of the rule above."""
    seen: set[int] = set()
    chosen: list[int] = []
    for index in range(len(dataset)):
        sample = dataset[index]
        if not set(sample.labels.tolist()) <= seen and _clear(sample):
            seen |= set(sample.labels.tolist())
            chosen.append(index)
        if len(chosen) == count:
            break
    return Chosen(dataset, chosen)


def _clear(sample: Sample) -> bool:
    height, width = sample.image.size()
    large = (area(sample.boxes) >= LEAST * height * width).all()
    if not 1 <= len(sample.labels) <= 4 or not large or sample.difficult.any():
        return False
    class_map = sample.class_map()
    return class_map is not None and bool((class_map == IGNORE_INDEX).any())


class Examiner:
    """Looks every few steps how well the images are known, and remembers; its own time is not the training's."""

    def __init__(self, dataset: Chosen, config: TrainConfig, every: int) -> None:
        self.net, self.spec = make_network(config, ())
        self.dataset, self.config, self.every = dataset, config, every
        self.begun, self.away = time.perf_counter(), 0.0
        self.found: Row | None = None

    def __call__(self, step: int, net: BlitzNet) -> bool:
        """Whether the images are known by heart after this step."""
        if step % self.every and step != self.config.steps:
            return False
        now = time.perf_counter()
        scores = score(net, self.spec, self.dataset)
        ap50, miou = scores.detection.ap50_area or 0.0, scores.segmentation.miou or 0.0
        reached = ap50 >= WANTED_AP50 and miou >= WANTED_MIOU
        seconds = now - self.begun - self.away
        self.found = Row(self.config.model, self.config.start, step, seconds, ap50, miou, reached)
        self.away += time.perf_counter() - now
        say(f"{self.config.model}: step {step}, AP50 {percent(ap50)}, mIoU {percent(miou)}")
        return reached


def measure(model: str, options: Options) -> tuple[Row, list[str]]:
    """Train one model until it knows the images or its steps are over; gives their ids too."""
    config = replace(CONFIGS[model], seed=options.seed, threads=options.threads, batch=options.images)
    config = replace(config, steps=options.steps or config.steps, precision=options.precision or config.precision)
    [dataset] = open_sources((f"voc:{options.root}/VOCdevkit/VOC2012@train",), get_spec(model).classes)
    chosen = choose(dataset, options.images)
    examiner = Examiner(chosen, config, options.every)
    given = batches([chosen], examiner.spec, config)
    learn(examiner.net, examiner.spec, given, config, name=model, enough=examiner)
    assert examiner.found is not None, "the last step is always examined"
    return examiner.found, list(chosen.ids)


def main(options: Options) -> None:
    """Train, print, write."""
    require_images(options.root)
    results = [measure(model, options) for model in options.models]
    rows, ids = [row for row, _ in results], results[0][1]
    shown = [
        (
            row.model,
            row.start,
            str(row.steps),
            f"{row.seconds:.0f}",
            percent(row.ap50),
            percent(row.miou),
            "yes" if row.reached else "no",
        )
        for row in rows
    ]
    notes = [f"wanted: AP50 {percent(WANTED_AP50, 0)} and mIoU {percent(WANTED_MIOU, 0)} at once, on {', '.join(ids)}"]
    columns = ("model", "start", "steps", "seconds", "AP50", "mIoU", "reached")
    show(f"{options.images} images by heart", columns, shown, notes)
    write(options.json, options, images=ids, expected={"ap50": WANTED_AP50, "miou": WANTED_MIOU}, rows=rows)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
