"""TrainConfig: valid values, JSON, and the fields that a resumed run may change."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import UsageError
from blitznet.train.config import BASIC_OPTIONS, OPTION_GROUPS, TrainConfig
from blitznet.train.recipes import lite_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps: expected 1 or more, got 0"),
        ({"epochs": 0}, "--epochs: expected 1 or more, got 0"),
        ({"patience": 0}, "--patience: expected 1 or more, got 0"),
        ({"patience": 2}, "--patience 2: expected evaluations during the run; add --val and --eval-every"),
        ({"patience": 2, "val": ("voc:a",)}, "--patience 2: expected evaluations during the run; add --eval-every"),
        ({"patience": 2, "eval_every": 5}, "--patience 2: expected evaluations during the run; add --val"),
        ({"batch": 0}, "--batch: expected 1 or more, got 0"),
        ({"batch_memory": 0.0}, "--batch-memory: expected a share above 0 up to 1, got 0.0"),
        ({"batch_memory": 1.5}, "--batch-memory: expected a share above 0 up to 1, got 1.5"),
        ({"mosaic": 1.5}, "--mosaic: expected a probability from 0 to 1, got 1.5"),
        ({"copy_paste": -0.5}, "--copy-paste: expected a probability from 0 to 1, got -0.5"),
        ({"cache_size": 0.0}, "--cache-size: expected a number above 0, got 0.0"),
        ({"box_segmentation_weight": 0.0}, "--box-segmentation-weight: expected a number above 0, got 0.0"),
        (
            {"box_segmentation_weight": 1.0, "tasks": ("detection",)},
            "--box-segmentation-weight: expected segmentation in --tasks, got detection only",
        ),
        ({"accumulate": 0}, "--accumulate: expected 1 or more, got 0"),
        ({"save_every": 0}, "--save-every: expected 1 or more, got 0"),
        ({"eval_every": 0}, "--eval-every: expected 1 or more, got 0"),
        ({"log_every": 0}, "--log-every: expected 1 or more, got 0"),
        ({"threads": 0}, "--threads: expected 1 or more, got 0"),
        ({"workers": -1}, "--workers: expected 0 or more, got -1"),
        ({"seed": -1}, "--seed: expected 0 or more, got -1"),
        ({"batch": 16, "accumulate": 3}, "--batch 16: expected a multiple of --accumulate 3"),
        (
            {"encoder_lr_mult": 0.0},
            "--encoder-lr-mult: expected a number above 0, got 0.0; to keep the encoder unchanged use "
            "--freeze encoder downscale",
        ),
        ({"lr": 0.0}, "--lr: expected a number above 0, got 0.0"),
        ({"lr": float("nan")}, "--lr: expected a finite number, got nan"),
        ({"clip_grad": 0.0}, "--clip-grad: expected a number above 0, got 0.0"),
        ({"ema": 1.0}, "--ema: expected a decay between 0 and 1, got 1.0"),
        ({"holdout": -0.1}, "--holdout: expected a fraction from 0 to below 1, got -0.1"),
        ({"imgsz": (0, 300)}, "--imgsz: expected sizes of 1 pixel or more, got 0 300"),
        (
            {"anchor_scales": (0.2, 0.1, 0.9)},
            "--anchor-scales: expected three increasing fractions such as 0.1 0.2 0.95, got 0.2 0.1 0.9",
        ),
        (
            {"freeze": ("encoder",), "train_only": ("detection",)},
            "--freeze, --train-only: expected one of them, got both; remove one",
        ),
    ],
)
def test_invalid_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**changes)
    assert str(caught.value) == message


def test_json_has_every_field() -> None:
    stored = json.loads(lite_config().to_json())
    assert stored.keys() == {field.name for field in fields(TrainConfig)}
    assert stored["out"] == "runs/lite"
    assert stored["val"] == list(lite_config().val)


def test_root_is_replaced_in_sets() -> None:
    config = TrainConfig(root=Path("a/b"))
    assert config.resolve_root(("voc:{root}/VOC2007@train", "coco:c@d")) == ("voc:a/b/VOC2007@train", "coco:c@d")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        (
            {
                "steps": 9,
                "epochs": 2,
                "workers": 0,
                "threads": 3,
                "save_every": 1,
                "eval_every": 7,
                "patience": 2,
                "log_every": 2,
            },
            (),
        ),
        ({"out": Path("x"), "device": "cpu", "root": Path("y"), "val": ("voc:a@b",), "allow_leaks": True}, ()),
        ({"cache": "ram", "cache_size": 1.0, "batch_memory": 0.1}, ()),
        ({"mosaic": 0.5, "copy_paste": 0.3}, ("--mosaic 0.5, was 0.0", "--copy-paste 0.3, was 0.0")),
        ({"lr": 0.1}, ("--lr 0.1, was 0.0012",)),
        ({"data": ("voc:a@b",), "batch": 8}, ("--data", "--batch 8, was 16")),
        (
            {"model": "ssd300", "encoder_lr_mult": 1.0},
            ('--model "ssd300", was "blitznet300-lite-plain"', "--encoder-lr-mult 1.0, was 0.4"),
        ),
        ({"drop_leaks": True, "val": ("voc:a@b",)}, ("--val", "--drop-leaks true, was false")),
    ],
)
def test_conflicts(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    conflicts = replace(lite_config(), **changes).conflicts(lite_config().to_json())
    assert len(conflicts) == len(expected)
    for conflict, start in zip(conflicts, expected, strict=True):
        assert conflict.startswith(start)


def test_missing_field_of_an_older_file_has_its_default() -> None:
    older = json.loads(lite_config().to_json())
    del older["drop_leaks"], older["encoder"]
    assert lite_config().conflicts(json.dumps(older)) == ()
    assert replace(lite_config(), drop_leaks=True, val=lite_config().val).conflicts(json.dumps(older)) == (
        "--drop-leaks true, was false",
    )


def test_option_groups_have_every_field_once() -> None:
    grouped = [name for names in OPTION_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(field.name for field in fields(TrainConfig))
    assert set(BASIC_OPTIONS) <= set(grouped)
    assert len(BASIC_OPTIONS) == 11


def test_another_fraction_of_the_training_images_is_a_conflict() -> None:
    stored = TrainConfig(data=("voc:a@train",), val=("0.2",)).to_json()
    assert TrainConfig(data=("voc:a@train",), val=("0.2",)).conflicts(stored) == ()
    assert TrainConfig(data=("voc:a@train",), val=("0.3",)).conflicts(stored) == ('--val ["0.3"], was ["0.2"]',)
    assert TrainConfig(data=("voc:a@train",), val=("voc:a@val",)).conflicts(stored) == (
        '--val ["voc:a@val"], was ["0.2"]',
    )
