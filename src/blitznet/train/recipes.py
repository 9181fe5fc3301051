"""Recipes of the light model: its base training, and fine-tuning on your own data.

Each recipe is a function that returns a complete config. {root} is the folder of the datasets (`--root`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blitznet.train.config import TrainConfig

VOC07 = "voc:{root}/VOCdevkit/VOC2007"
VOC12 = "voc:{root}/VOCdevkit/VOC2012"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run and its expected result."""

    config: TrainConfig
    source: str
    """table of the paper such as `Table 1`, or `ours`"""
    cost: str
    """hardware and time"""
    expected: str
    """expected scores: the paper's, or measured ones"""


def lite_config() -> TrainConfig:
    """The plain light model, trained on images with boxes, masks or both, of all classes or only some."""
    return TrainConfig(
        model="blitznet300-lite-plain",
        init="encoder",
        data=(
            f"{VOC12}@train,sample_weight=1.5",
            f"{VOC07}@trainval",
            "coco:{root}/coco@train,sample_weight=2",
            "coco:{root}/coco@boxes",
            "voc:{root}/caltech/aeroplane@train,annotated=aeroplane,sample_weight=0.2",
            "voc:{root}/caltech/motorbike@train,annotated=motorbike,sample_weight=0.2",
            "folder:{root}/camvid,annotated=car+person,ignore=bicyclist,sample_weight=0.3",
        ),
        val=(f"{VOC12}@val", f"{VOC07}@test", "coco:{root}/coco@rare"),
        steps=2300,
        batch=16,
        optimizer="adamw",
        lr=1.2e-3,
        encoder_lr_mult=0.4,
        warmup=50,
        ema=0.998,
        clip_grad=10.0,
        policy="light",
        repeat_threshold=0.1,
        segmentation_weight=2.0,
        precision="bfloat16",
        save_every=100,
        out=Path("runs/lite"),
    )


def finetune_config() -> TrainConfig:
    """Fine-tune the default model to the classes of your data."""
    return TrainConfig(
        model="blitznet300-lite",
        init="model",
        steps=600,
        batch=16,
        optimizer="adamw",
        lr=6e-4,
        encoder_lr_mult=0.3,
        warmup=30,
        ema=0.99,
        clip_grad=10.0,
        policy="light",
        save_every=100,
        out=Path("runs/finetune"),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "lite": lambda: Recipe(lite_config(), "ours", "2 CPU cores, 60 minutes", "AP50 0.57, mIoU 0.48 on VOC12 val"),
    "finetune": lambda: Recipe(finetune_config(), "ours", "2 CPU cores, 15 minutes", "depends on the data"),
}
"""our recipes by name; those of the paper are in paper/recipes.py"""
