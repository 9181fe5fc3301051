"""The paper's tables: the runs, the metrics and evaluation sets, and the published numbers in percent.

Scale full uses the recipes of the paper. Scale small repeats the experiments with the light network at 192 px, on the
few images in {root}; all rows of a table train for the same number of steps on the same images in the same order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from blitznet.core.errors import UsageError
from blitznet.core.spec import ALL_TASKS, Fusion, Task
from blitznet.paper.recipes import paper_recipe
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import VOC07, VOC12, lite_config

TableName = Literal["table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8", "figure4"]
Scale = Literal["full", "small"]
LeakProtocol = Literal["clean", "authors"]
Metric = Literal["ap50_area", "ap50_11point", "ap50_frequent", "coco_ap", "coco_ap50", "miou"]

SMALL_STEPS = 800
"""steps of a small run, about ten minutes on two cores"""
SMALL_IMGSZ = 192
"""input height and width of a small run, pixels"""


@dataclass(frozen=True, slots=True)
class MetricColumn:
    """A column of a table: a metric on an evaluation set."""

    name: str
    """title, as in the paper"""
    metric: Metric
    data: str
    """evaluation set, as in a config"""

    @property
    def task(self) -> Task:
        """The task that the metric measures."""
        return "segmentation" if self.metric == "miou" else "detection"


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table: a run, and the paper's numbers by column."""

    name: str
    config: TrainConfig
    paper: Mapping[str, float] = field(default_factory=dict)

    def has(self, column: MetricColumn) -> bool:
        """Whether this row's model is trained for the column's task."""
        return column.task in self.config.tasks


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of the paper."""

    name: TableName
    scale: Scale
    title: str
    columns: tuple[MetricColumn, ...]
    rows: tuple[TableRow, ...]
    reference: str
    """name of the row that is compared with each other row"""

    def row(self, name: str) -> TableRow:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def eval_sets(self) -> tuple[str, ...]:
        """The evaluation sets of all columns, without duplicates."""
        return tuple(dict.fromkeys(column.data for column in self.columns))


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A table to reproduce, with the folders and the number of runs."""

    table: PaperTable
    folder: Path
    """folder that contains a folder for every run"""
    root: Path
    """folder of the datasets"""
    seeds: int = 1
    """runs of each row, with seeds 0, 1 ..."""
    protocol: LeakProtocol = "clean"
    """clean: images of the evaluation sets are left out of training; authors: they are trained on"""
    encoder_weights: Path | None = None
    """the encoder's state dict, for encoders without weights in the package"""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """options of every run that depend on the machine: workers, device, accumulate"""

    def config(self, row: TableRow, seed: int) -> TrainConfig:
        """The config of a row's run with a seed."""
        is_clean = self.protocol == "clean"
        return replace(
            row.config,
            root=self.root,
            seed=seed,
            out=self.folder / f"{row.name}-seed{seed}",
            drop_leaks=is_clean,
            allow_leaks=not is_clean,
            encoder_weights=self.encoder_weights,
            **self.machine,
        )


_TEST07, _VAL12, _MINIVAL = f"{VOC07}@test", f"{VOC12}@Segmentation/val", "coco:{root}/coco@val2017"
_SMALL_VAL = f"{VOC12}@val"
_COLUMNS: dict[str, tuple[MetricColumn, ...]] = {
    "table1": (MetricColumn("mAP", "ap50_11point", _TEST07),),
    "table3": (MetricColumn("mAP", "ap50_area", _VAL12), MetricColumn("mIoU", "miou", _VAL12)),
    "table4": (MetricColumn("mAP", "ap50_area", _VAL12), MetricColumn("mIoU", "miou", _VAL12)),
    "table5": (MetricColumn("AP", "coco_ap", _MINIVAL), MetricColumn("mIoU", "miou", _MINIVAL)),
    "table6": (MetricColumn("AP", "coco_ap", _MINIVAL), MetricColumn("AP50", "coco_ap50", _MINIVAL)),
    "table8": (MetricColumn("mAP", "ap50_11point", _TEST07), MetricColumn("mIoU", "miou", _VAL12)),
}
_SMALL_COLUMNS = (
    MetricColumn("mAP", "ap50_area", _SMALL_VAL),
    MetricColumn("mAP of classes with 20 objects", "ap50_frequent", _SMALL_VAL),
    MetricColumn("mIoU", "miou", _SMALL_VAL),
)

_TITLES = {
    "table1": "VOC07 test: the baseline, strides, and joint training",
    "table3": "one task or both, on the same images",
    "table4": "one task or both, with VOC07's boxes added",
    "table5": "COCO: one task or both",
    "table6": "COCO: both sizes",
    "table8": "fusion blocks",
}
_REFERENCES = {
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
"""rows in the paper's order, named as their recipes"""

_SPEED = "measures speed, not accuracy; run `blitznet bench MODEL`"
_UNSUPPORTED: dict[str, str] = {
    "table2": "is scored by the VOC2012 test server only; `blitznet train table2-300` trains its model",
    "table7": _SPEED,
    "figure4": _SPEED,
}
_NOT_SMALL: dict[str, str] = {
    "table5": "needs more than a few hundred images for COCO's 80 classes",
    "table6": "needs more than a few hundred images for COCO's 80 classes",
}


def table(name: str, scale: Scale, *, mask_fraction: float = 1.0) -> PaperTable:
    """A table of the paper.

    Args:
        name: One of `TableName`.
        scale: full or small.
        mask_fraction: Fraction of the masks to train on, for table4 at the small scale; the row without masks is then
            left out because it would not change.

    Raises:
        UsageError: The table cannot be reproduced; the message states why.
    """
    if name in _UNSUPPORTED:
        raise UsageError(f"{name} {_UNSUPPORTED[name]}")
    if scale == "small" and name in _NOT_SMALL:
        raise UsageError(f"{name} at the small scale {_NOT_SMALL[name]}; use --scale full")
    if not 0 < mask_fraction <= 1:
        raise UsageError(f"--mask-fraction: expected a number above 0 and at most 1, got {mask_fraction:g}")
    if mask_fraction < 1 and (name, scale) != ("table4", "small"):
        raise UsageError(f"--mask-fraction: expected table4 at the small scale, got {name} at the {scale} scale")
    builders = _SMALL if scale == "small" else _FULL
    if name not in builders:
        raise UsageError(f"table '{name}': expected one of {', '.join(_FULL)}")
    return builders[name](mask_fraction)


def _full(name: TableName) -> Callable[[float], PaperTable]:
    def build(_: float) -> PaperTable:
        rows = [TableRow(row, paper_recipe(f"{name}-{row}").config, paper) for row, paper in _PAPER[name].items()]
        return PaperTable(name, "full", _TITLES[name], _COLUMNS[name], tuple(rows), _REFERENCES[name])

    return build


def _small(name: TableName, config: Callable[[str, float], TrainConfig]) -> Callable[[float], PaperTable]:
    def build(mask_fraction: float) -> PaperTable:
        rows = [TableRow(row, config(row, mask_fraction), paper) for row, paper in _PAPER[name].items()]
        if mask_fraction < 1:
            rows = [row for row in rows if "segmentation" in row.config.tasks]
        return PaperTable(name, "small", _TITLES[name], _SMALL_COLUMNS, tuple(rows), _REFERENCES[name])

    return build


def _small_table1(_: float) -> PaperTable:
    """Detection only, with and without an upscale stream; the light network has one stride."""
    rows = [
        TableRow(
            name, replace(small_config(_masked(1), _BOXES, tasks=("detection",)), model=model), _PAPER["table1"][name]
        )
        for name, model in (("ssd300", "ssd300-lite"), ("300-s8", "blitznet300-lite-plain"))
    ]
    return PaperTable(
        "table1", "small", "SSD, and BlitzNet's upscale stream", _SMALL_COLUMNS[:2], tuple(rows), "300-s8"
    )


_TASKS: dict[str, tuple[Task, ...]] = {"det": ("detection",), "joint": ALL_TASKS, "seg": ("segmentation",)}
_FUSIONS: dict[str, Fusion] = {
    "hourglass": "hourglass",
    "refine": "refine",
    "resskip-plain": "resskip-plain",
    "resskip": "resskip",
}


def small_config(*data: str, tasks: tuple[Task, ...] = ALL_TASKS, fusion: Fusion | None = None) -> TrainConfig:
    """A small run: the recipe of the light model, shorter, at a smaller input, with equal loss weights."""
    return replace(
        lite_config(),
        data=data,
        val=(_SMALL_VAL,),
        tasks=tasks,
        fusion=fusion,
        imgsz=(SMALL_IMGSZ, SMALL_IMGSZ),
        steps=SMALL_STEPS,
        repeat_threshold=None,
        segmentation_weight=1.0,
        drop_leaks=True,
    )


def _masked(fraction: float) -> str:
    option = "" if fraction == 1 else f",mask_fraction={fraction:g}"
    return f"{VOC12}@train{option}"


_BOXES = f"{VOC07}@trainval,masks=none"
_FULL: dict[str, Callable[[float], PaperTable]] = {
    "table1": _full("table1"),
    "table3": _full("table3"),
    "table4": _full("table4"),
    "table5": _full("table5"),
    "table6": _full("table6"),
    "table8": _full("table8"),
}
_SMALL: dict[str, Callable[[float], PaperTable]] = {
    "table1": _small_table1,
    "table3": _small("table3", lambda row, _: small_config(_masked(1), tasks=_TASKS[row])),
    "table4": _small("table4", lambda row, fraction: small_config(_masked(fraction), _BOXES, tasks=_TASKS[row])),
    "table8": _small("table8", lambda row, _: small_config(_masked(1), _BOXES, fusion=_FUSIONS[row])),
}
