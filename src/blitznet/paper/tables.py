"""The paper's tables: which runs each takes, what is scored on which images, and what the paper says.

Full: the recipes. Small: the same questions to the light network at 192 px, on the few images that lie in {root}; all
rows of a table learn as many steps from the same images in the same order. Figures are in percent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from blitznet.core.errors import UsageError
from blitznet.core.spec import ALL_TASKS, Fusion, Task
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import VOC07, VOC12, lite, recipe

Name = Literal["table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8", "figure4"]
Scale = Literal["full", "small"]
Protocol = Literal["clean", "authors"]
Measure = Literal["ap50_area", "ap50_11point", "ap50_pooled", "coco_ap", "coco_ap50", "miou"]

SMALL_STEPS = 800
"""of every small run: about ten minutes on two cores"""
SMALL_SIZE = 192
"""pixels, the side of the small runs' input"""


@dataclass(frozen=True, slots=True)
class Figure:
    """A column: what is measured, and on which images."""

    name: str
    """as the paper writes it"""
    measure: Measure
    data: str
    """the set, as a config names it"""

    @property
    def task(self) -> Task:
        """The task that a model must have learned to be measured so."""
        return "segmentation" if self.measure == "miou" else "detection"


@dataclass(frozen=True, slots=True)
class Row:
    """A row: a run, and the paper's figures by name."""

    name: str
    config: TrainConfig
    paper: Mapping[str, float] = field(default_factory=dict)

    def learns(self, figure: Figure) -> bool:
        """Whether this row has that figure."""
        return figure.task in self.config.tasks


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the paper."""

    name: Name
    scale: Scale
    title: str
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    ours: str
    """the row that is held against each of the others"""

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that are predicted, each once."""
        return tuple(dict.fromkeys(figure.data for figure in self.figures))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a table is made: which, where, how often, from what."""

    table: Table
    folder: Path
    """holds a folder for every run"""
    root: Path
    """holds the data sets"""
    seeds: int = 1
    """runs of each row, with seeds 0, 1 ..."""
    protocol: Protocol = "clean"
    """clean: images of the evaluation sets are left out of training; authors: they are learned from"""
    encoder_weights: Path | None = None
    """the encoder's state dict, where the package brings none"""

    def config(self, row: Row, seed: int) -> TrainConfig:
        """The run of a row with this seed."""
        clean = self.protocol == "clean"
        return replace(
            row.config,
            root=self.root,
            seed=seed,
            out=self.folder / f"{row.name}-seed{seed}",
            drop_leaks=clean,
            allow_leaks=not clean,
            encoder_weights=self.encoder_weights,
        )


_TEST07, _VAL12, _MINIVAL = f"{VOC07}@test", f"{VOC12}@Segmentation/val", "coco:{root}/coco@val2017"
_SMALL_VAL = f"{VOC12}@val"
_FIGURES: dict[str, tuple[Figure, ...]] = {
    "table1": (Figure("mAP", "ap50_11point", _TEST07),),
    "table3": (Figure("mAP", "ap50_area", _VAL12), Figure("mIoU", "miou", _VAL12)),
    "table4": (Figure("mAP", "ap50_area", _VAL12), Figure("mIoU", "miou", _VAL12)),
    "table5": (Figure("AP", "coco_ap", _MINIVAL), Figure("mIoU", "miou", _MINIVAL)),
    "table6": (Figure("AP", "coco_ap", _MINIVAL), Figure("AP50", "coco_ap50", _MINIVAL)),
    "table8": (Figure("mAP", "ap50_11point", _TEST07), Figure("mIoU", "miou", _VAL12)),
}
_SMALL_FIGURES = (
    Figure("mAP", "ap50_area", _SMALL_VAL),
    Figure("mAP of classes with 20 objects", "ap50_pooled", _SMALL_VAL),
    Figure("mIoU", "miou", _SMALL_VAL),
)

_TITLES = {
    "table1": "VOC07 test: the baseline, strides, and learning masks too",
    "table3": "one task or both, on the same images",
    "table4": "one task or both, with VOC07's boxes added",
    "table5": "COCO: one task or both",
    "table6": "COCO: both sizes",
    "table8": "fusion blocks",
}
_OURS = {
    "table1": "300-s4-seg",
    "table3": "joint",
    "table4": "joint",
    "table5": "joint",
    "table6": "512",
    "table8": "resskip",
}
_PAPER: dict[str, dict[str, dict[str, float]]] = {
    "table1": {
        "ssd300": {"mAP": 75.3},
        "300-s8": {"mAP": 78.5},
        "300-s4": {"mAP": 78.2},
        "300-s4-seg": {"mAP": 79.1},
        "512-s8": {"mAP": 80.7},
        "512-s8-seg": {"mAP": 81.5},
    },
    "table3": {"det": {"mAP": 78.9}, "joint": {"mAP": 80.0, "mIoU": 72.8}, "seg": {"mIoU": 72.4}},
    "table4": {"det": {"mAP": 83.0}, "joint": {"mAP": 83.6, "mIoU": 75.7}, "seg": {"mIoU": 72.4}},
    "table5": {"det": {"AP": 33.2}, "joint": {"AP": 34.1, "mIoU": 53.5}, "seg": {"mIoU": 48.3}},
    "table6": {"300": {"AP": 29.7, "AP50": 49.4}, "512": {"AP": 34.1, "AP50": 55.1}},
    "table8": {
        "hourglass": {"mAP": 78.7, "mIoU": 75.6},
        "refine": {"mAP": 78.0, "mIoU": 76.1},
        "resskip-plain": {"mAP": 78.4, "mIoU": 75.3},
        "resskip": {"mAP": 79.1, "mIoU": 75.7},
    },
}
"""rows in the paper's order, each named as its recipe"""

_TIMES = "says how fast networks are, which is measured, not learned: `blitznet bench MODEL` on your machine"
_NEVER: dict[str, str] = {
    "table2": "is scored by VOC2012's test server alone; `blitznet train table2-300` makes what it would score",
    "table7": _TIMES,
    "figure4": _TIMES,
}
_NOT_SMALL: dict[str, str] = {
    "table5": "needs COCO's 80 classes, which a few hundred images do not teach",
    "table6": "needs COCO's 80 classes, which a few hundred images do not teach",
}


def table(name: str, scale: Scale, *, contrast: float = 1.0) -> Table:
    """The table of this name; UsageError says why, where it cannot be reproduced.

    `contrast` is the share of the masks that are learned from, for Table 4 at the small scale: the fewer masks, the
    more boxes can add. The row that learns no masks is then left out, for it would come out the same.
    """
    if name in _NEVER:
        raise UsageError(f"{name} {_NEVER[name]}")
    if scale == "small" and name in _NOT_SMALL:
        raise UsageError(f"{name} at the small scale {_NOT_SMALL[name]}; give --scale full")
    if not 0 < contrast <= 1:
        raise UsageError(f"--contrast must be above 0 and at most 1, got {contrast:g}")
    if contrast < 1 and (name, scale) != ("table4", "small"):
        raise UsageError("--contrast is for table4 at the small scale; leave it out")
    makers = _SMALL if scale == "small" else _FULL
    if name not in makers:
        raise UsageError(f"there is no table '{name}'; tables are {', '.join(_FULL)}")
    return makers[name](contrast)


def _full(name: Name) -> Callable[[float], Table]:
    def make(_: float) -> Table:
        rows = [Row(row, recipe(f"{name}-{row}").config, paper) for row, paper in _PAPER[name].items()]
        return Table(name, "full", _TITLES[name], _FIGURES[name], tuple(rows), _OURS[name])

    return make


def _small(name: Name, row: Callable[[str, float], TrainConfig]) -> Callable[[float], Table]:
    def make(contrast: float) -> Table:
        rows = [Row(each, row(each, contrast), paper) for each, paper in _PAPER[name].items()]
        asked = [each for each in rows if contrast == 1 or "segmentation" in each.config.tasks]
        return Table(name, "small", _TITLES[name], _SMALL_FIGURES, tuple(asked), _OURS[name])

    return make


def _small_table1(_: float) -> Table:
    """Boxes only, with and without an upscale stream: the light network has one stride and learns masks elsewhere."""
    rows = [
        Row(name, replace(small(_masked(1), _BOXES, tasks=("detection",)), model=model), _PAPER["table1"][name])
        for name, model in (("ssd300", "ssd300-lite"), ("300-s8", "blitznet300-lite-plain"))
    ]
    return Table("table1", "small", "SSD, and BlitzNet's upscale stream", _SMALL_FIGURES[:2], tuple(rows), "300-s8")


_TASKS: dict[str, tuple[Task, ...]] = {"det": ("detection",), "joint": ALL_TASKS, "seg": ("segmentation",)}
_FUSIONS: dict[str, Fusion] = {
    "hourglass": "hourglass",
    "refine": "refine",
    "resskip-plain": "resskip-plain",
    "resskip": "resskip",
}


def small(*data: str, tasks: tuple[Task, ...] = ALL_TASKS, fusion: Fusion | None = None) -> TrainConfig:
    """A small run: the light model's recipe, at a smaller input, shorter, and both losses weighing the same."""
    return replace(
        lite(),
        data=data,
        val=(_SMALL_VAL,),
        tasks=tasks,
        fusion=fusion,
        size=SMALL_SIZE,
        steps=SMALL_STEPS,
        repeat=0.0,
        segmentation_weight=1.0,
        drop_leaks=True,
    )


def _masked(contrast: float) -> str:
    share = "" if contrast == 1 else f",masked={contrast:g}"
    return f"{VOC12}@train{share}"


_BOXES = f"{VOC07}@trainval,masks=none"
_FULL: dict[str, Callable[[float], Table]] = {
    "table1": _full("table1"),
    "table3": _full("table3"),
    "table4": _full("table4"),
    "table5": _full("table5"),
    "table6": _full("table6"),
    "table8": _full("table8"),
}
_SMALL: dict[str, Callable[[float], Table]] = {
    "table1": _small_table1,
    "table3": _small("table3", lambda row, _: small(_masked(1), tasks=_TASKS[row])),
    "table4": _small("table4", lambda row, contrast: small(_masked(contrast), _BOXES, tasks=_TASKS[row])),
    "table8": _small("table8", lambda row, _: small(_masked(1), _BOXES, fusion=_FUSIONS[row])),
}
