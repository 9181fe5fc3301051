"""Recipes: the paper's training runs, the light model's, and fine-tuning; each a function giving a whole config.

Where the paper and its release differ, these follow the paper (weight decay 5e-4, negatives mined per image);
`--release` switches. Images of the evaluation sets are left out of training, which the authors did not do
(`--no-drop-leaks --allow-leaks` trains as they did). {root} stands for the folder the sets lie in (`--root`).
Expected figures are the paper's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import UsageError
from blitznet.core.spec import ALL_TASKS, Fusion, Task
from blitznet.train.config import TrainConfig

VOC07 = "voc:{root}/VOCdevkit/VOC2007"
VOC12 = "voc:{root}/VOCdevkit/VOC2012"
_MASKS = "masks=SegmentationClass+SegmentationClassAug"
"""VOC's own masks where there are any, SBD's elsewhere"""
AUG = f"{VOC12}@SegmentationAug/train,{_MASKS}"
"""the paper's VOC12-train-seg-aug: 10,582 images, listed by the authors in ImageSets/SegmentationAug/train.txt"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run with what it reproduces."""

    config: TrainConfig
    table: str
    """where in the paper"""
    cost: str
    """what it takes"""
    expected: str
    """the paper's figures"""


def _paper(name: str, model: str, **fields: Any) -> TrainConfig:
    """What all runs of the paper share (4.2): Adam, 1e-4, batch 32, decay 5e-4, SSD's augmentation."""
    base = TrainConfig(
        model=model,
        optimizer="adam",
        lr=1e-4,
        weight_decay=5e-4,
        batch=32,
        schedule="drops",
        steps=65_000,
        drops=(35_000, 50_000),
        policy="ssd",
        drop_leaks=True,
        workers=8,
        save_every=1000,
        eval_every=10_000,
    )
    return replace(base, out=Path(f"runs/{name}"), **fields)


_VOC07_TEST = (f"{VOC07}@test",)
_VOC12_VAL = (f"{VOC12}@Segmentation/val",)


def table1(model: str, *, seg: bool) -> TrainConfig:
    """Table 1: VOC07 + VOC12 trainval, tested on VOC07 test; `seg` adds the masks there are."""
    masked = (f"{VOC07}@trainval", f"{VOC12}@trainval,{_MASKS}")
    config = _paper(
        f"table1-{model}{'-seg' if seg else ''}",
        model,
        data=masked if seg else (f"{VOC07}@trainval", f"{VOC12}@trainval"),
        val=_VOC07_TEST,
        tasks=ALL_TASKS if seg else ("detection",),
    )
    return replace(config, batch=16, steps=75_000, drops=(45_000, 60_000)) if "512" in model else config


def table2(model: str, *, coco: bool) -> TrainConfig:
    """Table 2: VOC07 + VOC12 with masks, for the VOC12 test server; `coco` goes on from Table 6's model.

    Nothing is evaluated: all of VOC12 that has published truth is learned from.
    """
    config = replace(table1(model, seg=True), val=(), out=Path(f"runs/table2-{model}{'-coco' if coco else ''}"))
    return replace(config, model=f"runs/table6-{model}/last.safetensors", start="model") if coco else config


def table3(*tasks: Task) -> TrainConfig:
    """Table 3: one task or both on train-seg-aug, tested on val-seg."""
    return _paper(
        f"table3-{'+'.join(tasks)}",
        "blitznet300-s4",
        data=(AUG,),
        val=_VOC12_VAL,
        tasks=tasks,
        steps=40_000,
        drops=(25_000, 35_000),
    )


def table4(*tasks: Task) -> TrainConfig:
    """Table 4: as Table 3 with VOC07's boxes added, without its masks."""
    return _paper(
        f"table4-{'+'.join(tasks)}",
        "blitznet300-s4",
        data=(AUG, f"{VOC07}@trainval,masks=none"),
        val=_VOC12_VAL,
        tasks=tasks,
    )


def table5(*tasks: Task) -> TrainConfig:
    """Table 5: COCO train2014, tested on minival (= val2017)."""
    return replace(
        table6("blitznet512-s8"),
        data=("coco:{root}/coco@train2014",),
        tasks=tasks,
        out=Path(f"runs/table5-{'+'.join(tasks)}"),
    )


def table6(model: str) -> TrainConfig:
    """Table 6: COCO trainval35k (= train2017), tested on minival (= val2017)."""
    return _paper(
        f"table6-{model}",
        model,
        data=("coco:{root}/coco@train2017",),
        val=("coco:{root}/coco@val2017",),
        classes=COCO,
        batch=16 if "512" in model else 32,
        steps=700_000,
        drops=(400_000, 550_000),
        eval_every=50_000,
    )


def table8(fusion: Fusion) -> TrainConfig:
    """Table 8: the fusion blocks, on Table 4's data; AP is scored on VOC07 test, masks on VOC12 val."""
    return replace(
        table4(*ALL_TASKS), fusion=fusion, val=(*_VOC07_TEST, *_VOC12_VAL), out=Path(f"runs/table8-{fusion}")
    )


def lite() -> TrainConfig:
    """The shipped light model, on images annotated in five different ways."""
    return TrainConfig(
        model="blitznet300-lite-plain",
        start="encoder",
        data=(
            f"{VOC12}@train,weight=1.5",
            f"{VOC07}@trainval",
            "coco:{root}/coco@train,weight=2",
            "coco:{root}/coco@boxes",
            "voc:{root}/caltech/aeroplane@train,classes=aeroplane,weight=0.2",
            "voc:{root}/caltech/motorbike@train,classes=motorbike,weight=0.2",
            "folder:{root}/camvid,classes=car+person,void=bicyclist,weight=0.3",
        ),
        val=(f"{VOC12}@val", f"{VOC07}@test", "coco:{root}/coco@rare"),
        steps=2300,
        batch=16,
        optimizer="adamw",
        lr=1.2e-3,
        encoder_lr=0.4,
        warmup=50,
        ema=0.998,
        clip=10.0,
        policy="light",
        repeat=0.1,
        segmentation_weight=2.0,
        precision="bfloat16",
        save_every=100,
        out=Path("runs/lite"),
    )


def _part(name: str, before: TrainConfig, model: str = "", **fields: Any) -> TrainConfig:
    """A further part of the light models' training: as the one before, from where that ended, or from `model`."""
    begun = model or str(before.out / "last.safetensors")
    return replace(before, model=begun, out=Path(f"runs/{name}"), **fields)


def lite_more() -> TrainConfig:
    """The second part of the shipped light model's training: boxes count as much as masks again."""
    first = lite()
    data = tuple(text.replace("coco@boxes", "coco@boxes,weight=1.5") for text in first.data)
    return _part(
        "lite-more", first, start="model", classes=VOC, data=data, steps=620, lr=6e-4, segmentation_weight=1.0, seed=1
    )


def lite_last() -> TrainConfig:
    """The third part: a little longer, at a lower rate."""
    return _part("lite-last", lite_more(), steps=300, lr=4e-4, seed=2)


def lite_taught() -> TrainConfig:
    """The fourth part: SSDLite's class predictors come in, half of its trunk comes back, and DeepLab paints masks.

    `python benchmarks/teach.py --out runs/deeplab` paints them. Boxes guide masks, and SSDLite teaches class logits.
    """
    return _part(
        "lite-taught",
        lite_last(),
        side=True,
        guide=True,
        recall=0.5,
        pseudo=Path("runs/deeplab"),
        distillation=1.0,
        steps=2600,
        lr=8e-4,
        encoder_lr=0.3,
        seed=3,
    )


def lite_again() -> TrainConfig:
    """The fifth part: the fourth once more, masks counting half as much again. What goes on is the mean of both parts.

    `blitznet average runs/lite-taught runs/lite-again --out runs/lite-mean.safetensors` takes it.
    """
    return _part("lite-again", lite_taught(), recall=0.0, segmentation_weight=1.5, steps=1100, seed=4)


def lite_onward() -> TrainConfig:
    """The sixth part: on from the mean, nothing changed but the order of the images. What goes on is its mean with it.

    `blitznet average runs/lite-mean.safetensors runs/lite-onward --half --out runs/lite-second.safetensors` takes it.
    """
    return _part("lite-onward", lite_taught(), "runs/lite-mean.safetensors", recall=0.0, steps=2400, seed=11)


def lite_head() -> TrainConfig:
    """The seventh part: SSDLite's trunk as it was published, with its whole head and anchors, both learning slowly."""
    return _part("lite-head", lite_onward(), "runs/lite-second.safetensors", ssdlite=True, encoder_lr=0.1, seed=21)


def lite_head_again() -> TrainConfig:
    """The eighth part: on from there. Their mean is shipped.

    `blitznet average runs/lite-head runs/lite-head-again --half` takes it.
    """
    return _part("lite-head-again", lite_head(), steps=1800, seed=22)


def lite416() -> TrainConfig:
    """The larger light model's first part: the default at 416 px, where all that is not SSDLite's learns anew.

    Anchors are nine tenths of their shares of the image: things keep about as many pixels as their maps were taught.
    """
    return _part(
        "lite416",
        lite_head(),
        "blitznet300-lite",
        size=416,
        anchors=(0.085, 0.17, 0.85),
        distillation=0.0,
        encoder_lr=0.0,
        lr=6e-4,
        steps=600,
        seed=31,
    )


def lite416_on() -> TrainConfig:
    """Its second part: the trunk learns the larger things too."""
    return _part("lite416-on", lite416(), size=0, anchors=(), encoder_lr=0.1, lr=8e-4, steps=1650, seed=41)


def lite416_again() -> TrainConfig:
    """Its third part: other images first, more slowly; the shipped model's began at the second's 393rd step.

    What goes on is `blitznet average runs/lite416-on runs/lite416-again --out runs/lite416-mean.safetensors`.
    """
    before = lite416_on()
    return _part("lite416-again", before, before.model, encoder_lr=0.05, lr=6e-4, steps=1200, seed=43)


def lite416_onward() -> TrainConfig:
    """Its fourth part: on from the mean, twice, the second time with masks counting half as much again.

    `blitznet train lite416-onward --seed 52 --segmentation-weight 1.5 --out runs/lite416-onward-b` is the second. What
    goes on is the mean of all: `blitznet average runs/lite416 runs/lite416-on runs/lite416-again runs/lite416-onward
    runs/lite416-onward-b --shares 2 2 2 1 1 --out runs/lite416-whole.safetensors`.
    """
    return _part("lite416-onward", lite416_again(), "runs/lite416-mean.safetensors", steps=800, seed=51)


def lite416_map() -> TrainConfig:
    """Its last part: boxes stay as they are; the class map looks at the trunk itself, and learns alone."""
    return _part(
        "lite416-map",
        lite416_onward(),
        "runs/lite416-whole.safetensors",
        taps=128,
        presence=3.0,
        learn=("segmentation", "detection_prior"),
        encoder_lr=0.0,
        lr=2e-3,
        steps=1550,
        seed=61,
    )


def finetune() -> TrainConfig:
    """Own data: the default model goes on with the data's own classes."""
    return TrainConfig(
        model="blitznet300-lite",
        start="model",
        steps=600,
        batch=16,
        optimizer="adamw",
        lr=6e-4,
        encoder_lr=0.3,
        warmup=30,
        ema=0.99,
        clip=10.0,
        policy="light",
        save_every=100,
        out=Path("runs/finetune"),
    )


_DAYS = "days on one GPU"
_DET: tuple[Task, ...] = ("detection",)
_SEG: tuple[Task, ...] = ("segmentation",)

RECIPES: dict[str, Callable[[], Recipe]] = {
    "lite": lambda: Recipe(lite(), "ours", "2 CPU cores, 60 minutes", "AP50 0.57, mIoU 0.48 on VOC12 val"),
    "lite-more": lambda: Recipe(lite_more(), "ours", "2 CPU cores, 16 minutes", "AP50 0.63, mIoU 0.49 on VOC12 val"),
    "lite-last": lambda: Recipe(lite_last(), "ours", "2 CPU cores, 8 minutes", "AP50 0.64, mIoU 0.51 on VOC12 val"),
    "lite-taught": lambda: Recipe(lite_taught(), "ours", "2 CPU cores, 70 minutes", "see docs/experiments.md"),
    "lite-again": lambda: Recipe(lite_again(), "ours", "2 CPU cores, 30 minutes", "see docs/experiments.md"),
    "lite-onward": lambda: Recipe(lite_onward(), "ours", "2 CPU cores, 75 minutes", "see docs/experiments.md"),
    "lite-head": lambda: Recipe(lite_head(), "ours", "2 CPU cores, 50 minutes", "see docs/experiments.md"),
    "lite-head-again": lambda: Recipe(lite_head_again(), "ours", "2 CPU cores, 40 minutes", "see docs/experiments.md"),
    "lite416": lambda: Recipe(lite416(), "ours", "2 CPU cores, 20 minutes", "see docs/experiments.md"),
    "lite416-on": lambda: Recipe(lite416_on(), "ours", "2 CPU cores, 90 minutes", "see docs/experiments.md"),
    "lite416-again": lambda: Recipe(lite416_again(), "ours", "2 CPU cores, 65 minutes", "see docs/experiments.md"),
    "lite416-onward": lambda: Recipe(lite416_onward(), "ours", "2 CPU cores, 50 minutes", "see docs/experiments.md"),
    "lite416-map": lambda: Recipe(lite416_map(), "ours", "2 CPU cores, 60 minutes", "see docs/experiments.md"),
    "finetune": lambda: Recipe(finetune(), "ours", "2 CPU cores, 15 minutes", "depends on the data"),
    "table1-ssd300": lambda: Recipe(table1("ssd300", seg=False), "Table 1", _DAYS, "mAP 75.3"),
    "table1-300-s8": lambda: Recipe(table1("blitznet300-s8", seg=False), "Table 1", _DAYS, "mAP 78.5"),
    "table1-300-s4": lambda: Recipe(table1("blitznet300-s4", seg=False), "Table 1", _DAYS, "mAP 78.2"),
    "table1-300-s4-seg": lambda: Recipe(table1("blitznet300-s4", seg=True), "Table 1", _DAYS, "mAP 79.1"),
    "table1-512-s8": lambda: Recipe(table1("blitznet512-s8", seg=False), "Table 1", _DAYS, "mAP 80.7"),
    "table1-512-s8-seg": lambda: Recipe(table1("blitznet512-s8", seg=True), "Table 1", _DAYS, "mAP 81.5"),
    "table2-300": lambda: Recipe(table2("blitznet300-s4", coco=False), "Table 2", _DAYS, "mAP 75.4 (test server)"),
    "table2-300-coco": lambda: Recipe(table2("blitznet300-s4", coco=True), "Table 2", _DAYS, "mAP 80.2 (test server)"),
    "table2-512": lambda: Recipe(table2("blitznet512-s8", coco=False), "Table 2", _DAYS, "mAP 79.0 (test server)"),
    "table2-512-coco": lambda: Recipe(table2("blitznet512-s8", coco=True), "Table 2", _DAYS, "mAP 83.8 (test server)"),
    "table3-det": lambda: Recipe(table3(*_DET), "Table 3", _DAYS, "mAP 78.9"),
    "table3-joint": lambda: Recipe(table3(*ALL_TASKS), "Table 3", _DAYS, "mAP 80.0, mIoU 72.8"),
    "table3-seg": lambda: Recipe(table3(*_SEG), "Table 3", _DAYS, "mIoU 72.4"),
    "table4-det": lambda: Recipe(table4(*_DET), "Table 4", _DAYS, "mAP 83.0"),
    "table4-joint": lambda: Recipe(table4(*ALL_TASKS), "Table 4", _DAYS, "mAP 83.6, mIoU 75.7"),
    "table4-seg": lambda: Recipe(table4(*_SEG), "Table 4", _DAYS, "mIoU 72.4"),
    "table5-det": lambda: Recipe(table5(*_DET), "Table 5", "weeks on one GPU", "AP 33.2"),
    "table5-joint": lambda: Recipe(table5(*ALL_TASKS), "Table 5", "weeks on one GPU", "AP 34.1, mIoU 53.5"),
    "table5-seg": lambda: Recipe(table5(*_SEG), "Table 5", "weeks on one GPU", "mIoU 48.3"),
    "table6-300": lambda: Recipe(table6("blitznet300-s4"), "Table 6", "weeks on one GPU", "AP 29.7, AP50 49.4"),
    "table6-512": lambda: Recipe(table6("blitznet512-s8"), "Table 6", "weeks on one GPU", "AP 34.1, AP50 55.1"),
    "table8-hourglass": lambda: Recipe(table8("hourglass"), "Table 8", _DAYS, "mAP 78.7, mIoU 75.6"),
    "table8-refine": lambda: Recipe(table8("refine"), "Table 8", _DAYS, "mAP 78.0, mIoU 76.1"),
    "table8-resskip-plain": lambda: Recipe(table8("resskip-plain"), "Table 8", _DAYS, "mAP 78.4, mIoU 75.3"),
    "table8-resskip": lambda: Recipe(table8("resskip"), "Table 8", _DAYS, "mAP 79.1, mIoU 75.7"),
}
"""Every recipe by name."""


def recipe(name: str) -> Recipe:
    """The recipe of this name."""
    if name not in RECIPES:
        raise UsageError(f"there is no recipe '{name}'; `blitznet recipes` lists them")
    return RECIPES[name]()
