"""Recipes of the paper's tables; each is a function that returns a complete config.

Where the paper and the original implementation differ, the recipes follow the paper: weight decay 5e-4, negatives
mined per image. `--match-original` follows the implementation. Images of the evaluation sets are left out of training;
the authors trained on them, as `--no-drop-leaks --allow-leaks` does. Expected scores are the paper's.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blitznet.core.classes import COCO
from blitznet.core.errors import UsageError
from blitznet.core.spec import ALL_TASKS, Fusion, Task
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import VOC07, VOC12, Recipe

_MASKS = "masks=SegmentationClass+SegmentationClassAug"
"""VOC's own masks, and those of SBD for images without one"""
AUG = f"{VOC12}@SegmentationAug/train,{_MASKS}"
"""the paper's VOC12-train-seg-aug: 10,582 images, listed by the authors in ImageSets/SegmentationAug/train.txt"""
_VOC07_TEST = (f"{VOC07}@test",)
_VOC12_VAL = (f"{VOC12}@Segmentation/val",)


def _base(name: str, model: str, **fields: Any) -> TrainConfig:
    """Options of all runs of the paper (4.2): Adam, 1e-4, batch 32, decay 5e-4, SSD's augmentation."""
    base = TrainConfig(
        model=model,
        optimizer="adam",
        lr=1e-4,
        weight_decay=5e-4,
        batch=32,
        schedule="multistep",
        steps=65_000,
        milestones=(35_000, 50_000),
        policy="ssd",
        drop_leaks=True,
        workers=8,
        save_every=1000,
        eval_every=10_000,
    )
    return replace(base, out=Path(f"runs/{name}"), **fields)


def table1(model: str, *, with_masks: bool) -> TrainConfig:
    """Table 1: VOC07 + VOC12 trainval, evaluated on VOC07 test; optionally with the masks of those images."""
    masked = (f"{VOC07}@trainval", f"{VOC12}@trainval,{_MASKS}")
    config = _base(
        f"table1-{model}{'-seg' if with_masks else ''}",
        model,
        data=masked if with_masks else (f"{VOC07}@trainval", f"{VOC12}@trainval"),
        val=_VOC07_TEST,
        tasks=ALL_TASKS if with_masks else ("detection",),
    )
    return replace(config, batch=16, steps=75_000, milestones=(45_000, 60_000)) if "512" in model else config


def table2(model: str, *, from_coco: bool) -> TrainConfig:
    """Table 2: VOC07 + VOC12 with masks, for the VOC12 test server; optionally fine-tuned from Table 6's model."""
    name = f"table2-{model}{'-coco' if from_coco else ''}"
    # all labeled images of VOC12 are trained on, so none are left for evaluation
    config = replace(table1(model, with_masks=True), val=(), out=Path(f"runs/{name}"))
    return replace(config, model=f"runs/table6-{model}/last.safetensors", init="model") if from_coco else config


def table3(*tasks: Task) -> TrainConfig:
    """Table 3: one task or both on train-seg-aug, evaluated on val-seg."""
    return _base(
        f"table3-{'+'.join(tasks)}",
        "blitznet300-s4",
        data=(AUG,),
        val=_VOC12_VAL,
        tasks=tasks,
        steps=40_000,
        milestones=(25_000, 35_000),
    )


def table4(*tasks: Task) -> TrainConfig:
    """Table 4: the tasks of Table 3, with the boxes of VOC07 added; the paper does not state the steps."""
    return _base(
        f"table4-{'+'.join(tasks)}",
        "blitznet300-s4",
        data=(AUG, f"{VOC07}@trainval,masks=none"),
        val=_VOC12_VAL,
        tasks=tasks,
    )


def table5(*tasks: Task) -> TrainConfig:
    """Table 5: COCO train2014, evaluated on minival (= val2017)."""
    return replace(
        table6("blitznet512-s8"),
        data=("coco:{root}/coco@train2014",),
        tasks=tasks,
        out=Path(f"runs/table5-{'+'.join(tasks)}"),
    )


def table6(model: str) -> TrainConfig:
    """Table 6: COCO trainval35k (= train2017), evaluated on minival (= val2017)."""
    return _base(
        f"table6-{model}",
        model,
        data=("coco:{root}/coco@train2017",),
        val=("coco:{root}/coco@val2017",),
        class_names=COCO,
        batch=16 if "512" in model else 32,
        steps=700_000,
        milestones=(400_000, 550_000),
        eval_every=50_000,
    )


def table8(fusion: Fusion) -> TrainConfig:
    """Table 8: the fusion blocks, on the data of Table 4; AP on VOC07 test, mIoU on VOC12 val."""
    return replace(
        table4(*ALL_TASKS), fusion=fusion, val=(*_VOC07_TEST, *_VOC12_VAL), out=Path(f"runs/table8-{fusion}")
    )


_DAYS, _WEEKS = "days on one GPU", "weeks on one GPU"
_DET: tuple[Task, ...] = ("detection",)
_SEG: tuple[Task, ...] = ("segmentation",)
_S300, _S512 = "blitznet300-s4", "blitznet512-s8"

PAPER_RECIPES: dict[str, Callable[[], Recipe]] = {
    "table1-ssd300": lambda: Recipe(table1("ssd300", with_masks=False), "Table 1", _DAYS, "mAP 75.3"),
    "table1-300-s8": lambda: Recipe(table1("blitznet300-s8", with_masks=False), "Table 1", _DAYS, "mAP 78.5"),
    "table1-300-s4": lambda: Recipe(table1(_S300, with_masks=False), "Table 1", _DAYS, "mAP 78.2"),
    "table1-300-s4-seg": lambda: Recipe(table1(_S300, with_masks=True), "Table 1", _DAYS, "mAP 79.1"),
    "table1-512-s8": lambda: Recipe(table1(_S512, with_masks=False), "Table 1", _DAYS, "mAP 80.7"),
    "table1-512-s8-seg": lambda: Recipe(table1(_S512, with_masks=True), "Table 1", _DAYS, "mAP 81.5"),
    "table2-300": lambda: Recipe(table2(_S300, from_coco=False), "Table 2", _DAYS, "mAP 75.4 (test server)"),
    "table2-300-coco": lambda: Recipe(table2(_S300, from_coco=True), "Table 2", _DAYS, "mAP 80.2 (test server)"),
    "table2-512": lambda: Recipe(table2(_S512, from_coco=False), "Table 2", _DAYS, "mAP 79.0 (test server)"),
    "table2-512-coco": lambda: Recipe(table2(_S512, from_coco=True), "Table 2", _DAYS, "mAP 83.8 (test server)"),
    "table3-det": lambda: Recipe(table3(*_DET), "Table 3", _DAYS, "mAP 78.9"),
    "table3-joint": lambda: Recipe(table3(*ALL_TASKS), "Table 3", _DAYS, "mAP 80.0, mIoU 72.8"),
    "table3-seg": lambda: Recipe(table3(*_SEG), "Table 3", _DAYS, "mIoU 72.4"),
    "table4-det": lambda: Recipe(table4(*_DET), "Table 4", _DAYS, "mAP 83.0"),
    "table4-joint": lambda: Recipe(table4(*ALL_TASKS), "Table 4", _DAYS, "mAP 83.6, mIoU 75.7"),
    "table4-seg": lambda: Recipe(table4(*_SEG), "Table 4", _DAYS, "mIoU 72.4"),
    "table5-det": lambda: Recipe(table5(*_DET), "Table 5", _WEEKS, "AP 33.2"),
    "table5-joint": lambda: Recipe(table5(*ALL_TASKS), "Table 5", _WEEKS, "AP 34.1, mIoU 53.5"),
    "table5-seg": lambda: Recipe(table5(*_SEG), "Table 5", _WEEKS, "mIoU 48.3"),
    "table6-300": lambda: Recipe(table6(_S300), "Table 6", _WEEKS, "AP 29.7, AP50 49.4"),
    "table6-512": lambda: Recipe(table6(_S512), "Table 6", _WEEKS, "AP 34.1, AP50 55.1"),
    "table8-hourglass": lambda: Recipe(table8("hourglass"), "Table 8", _DAYS, "mAP 78.7, mIoU 75.6"),
    "table8-refine": lambda: Recipe(table8("refine"), "Table 8", _DAYS, "mAP 78.0, mIoU 76.1"),
    "table8-resskip-plain": lambda: Recipe(table8("resskip-plain"), "Table 8", _DAYS, "mAP 78.4, mIoU 75.3"),
    "table8-resskip": lambda: Recipe(table8("resskip"), "Table 8", _DAYS, "mAP 79.1, mIoU 75.7"),
}
"""the paper's recipes by name"""


def paper_recipe(name: str) -> Recipe:
    """The paper's recipe of this name."""
    if name not in PAPER_RECIPES:
        raise UsageError(f"recipe '{name}': expected one of the paper's; `blitznet recipes` lists them")
    return PAPER_RECIPES[name]()
