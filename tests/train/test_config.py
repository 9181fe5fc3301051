"""What a run can be told, and what makes another run of it."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import lite


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps must be 1 or more, came 0"),
        ({"batch": 0}, "--batch must be 1 or more, came 0"),
        ({"accumulate": 0}, "--accumulate must be 1 or more, came 0"),
        ({"save_every": 0}, "--save-every must be 1 or more, came 0"),
        ({"log_every": 0}, "--log-every must be 1 or more, came 0"),
        ({"workers": -1}, "--workers must be 0 or more, came -1"),
        ({"seed": -1}, "--seed must be 0 or more, came -1"),
        ({"batch": 16, "accumulate": 3}, "--batch 16 must be a multiple of --accumulate 3"),
        ({"encoder_lr": -0.1}, "--encoder-lr must be 0 or more, came -0.1"),
        ({"encoder_lr": float("nan")}, "--encoder-lr must be 0 or more, came nan"),
        ({"lr": 0.0}, "--lr must be above 0, came 0.0"),
        ({"lr": float("nan")}, "--lr must be above 0, came nan"),
        ({"ema": 1.0}, "--ema must lie in 0..1, came 1.0"),
        ({"holdout": -0.1}, "--holdout must lie in 0..1, came -0.1"),
    ],
)
def test_values_that_cannot_be_used_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig(**changes)
    assert str(caught.value) == message


def test_json_holds_every_field() -> None:
    written = json.loads(lite().to_json())
    assert written.keys() == {field.name for field in fields(TrainConfig)}
    assert written["out"] == "runs/lite"
    assert written["val"] == list(lite().val)


def test_the_root_stands_in_the_sets() -> None:
    config = TrainConfig(root=Path("a/b"))
    assert config.sources(("voc:{root}/VOC2007@train", "coco:c@d")) == ("voc:a/b/VOC2007@train", "coco:c@d")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"steps": 9, "workers": 0, "threads": 3, "save_every": 1, "eval_every": 7, "log_every": 2}, ()),
        ({"out": Path("x"), "device": "cpu", "root": Path("y"), "val": ("voc:a@b",), "allow_leaks": True}, ()),
        ({"lr": 0.1}, ("--lr 0.1, was 0.0012",)),
        ({"data": ("voc:a@b",), "batch": 8}, ("--data", "--batch 8, was 16")),
        (
            {"model": "ssd300", "encoder_lr": 1.0},
            ('--model "ssd300", was "blitznet300-lite-plain"', "--encoder-lr 1.0, was 0.4"),
        ),
        ({"drop_leaks": True, "val": ("voc:a@b",)}, ("--val", "--drop-leaks true, was false")),
    ],
)
def test_what_makes_another_run(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    found = replace(lite(), **changes).conflicts(lite().to_json())
    assert len(found) == len(expected)
    for message, begin in zip(found, expected, strict=True):
        assert message.startswith(begin)


def test_a_field_that_an_older_file_lacks_had_its_default() -> None:
    older = json.loads(lite().to_json())
    del older["drop_leaks"], older["encoder"]
    assert lite().conflicts(json.dumps(older)) == ()
    assert replace(lite(), drop_leaks=True, val=lite().val).conflicts(json.dumps(older)) == (
        "--drop-leaks true, was false",
    )
