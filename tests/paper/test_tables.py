"""The paper's tables: its numbers, its runs, and what cannot be reproduced."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.core.spec import ALL_TASKS
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import build
from blitznet.paper.tables import _FULL, _UNSUPPORTED, _NOT_SMALL, _SMALL, Name, RunPlan, table
from blitznet.train.initialize import derive_spec
from blitznet.train.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", _FULL)
def test_the_full_tables_are_the_recipes_with_their_figures(name: str) -> None:
    found = table(name, "full")
    assert {f"{name}-{row.name}" for row in found.rows} == {one for one in RECIPES if one.startswith(name)}
    for row in found.rows:
        expected = recipe(f"{name}-{row.name}")
        assert row.config == expected.config
        assert ", ".join(f"{figure} {value}" for figure, value in row.paper.items()) == expected.expected
        assert {figure.data for figure in found.columns} == set(row.config.val)
        assert set(row.paper) == {figure.name for figure in found.columns if row.has(figure)}
    assert found.row(found.reference) in found.rows


def test_voc2007_is_scored_at_eleven_points_and_coco_its_own_way() -> None:
    measures = {name: [figure.metric for figure in table(name, "full").columns] for name in _FULL}
    assert measures["table1"] == ["ap50_11point"]
    assert measures["table8"] == ["ap50_11point", "miou"]
    assert measures["table3"] == measures["table4"] == ["ap50_area", "miou"]
    assert measures["table6"] == ["coco_ap", "coco_ap50"]
    assert table("table8", "full").eval_sets == recipe("table8-resskip").config.val


@pytest.mark.parametrize("name", _SMALL)
def test_small_rows_differ_in_the_question_alone(name: str) -> None:
    found, paper = table(name, "small"), table(name, "full")
    papers = [row for row in paper.rows if name != "table1" or row.name in ("ssd300", "300-s8")]
    assert [(row.name, row.paper) for row in found.rows] == [(row.name, row.paper) for row in papers]
    asked = {"table1": "model", "table8": "fusion"}.get(name, "tasks")
    assert len({getattr(row.config, asked) for row in found.rows}) == len(found.rows)
    first = found.rows[0].config
    for row, full in zip(found.rows, papers, strict=True):
        assert replace(row.config, **{asked: getattr(first, asked)}) == first
        assert (row.config.tasks, row.config.fusion) == (full.config.tasks, full.config.fusion)
        assert row.config.val == found.eval_sets
        assert not set(row.config.data) & set(row.config.val)


def test_a_small_network_can_be_built_and_fits_its_anchors() -> None:
    for row in table("table8", "small").rows:
        spec = derive_spec(get_spec(row.config.model), row.config, ())
        assert spec.size == (192, 192)
        assert spec.network.fusion == row.name
        with torch.device("meta"):
            heads = build(spec)(torch.zeros(2, 3, *spec.size))
        cells = sum(height * width for height, width in feature_map_sizes(spec.anchors, spec.size))
        assert heads.logits is not None
        assert heads.class_map is not None
        assert heads.logits.shape == (2, cells * spec.anchors.num_anchors_per_cell, 21)
        assert heads.class_map.shape == (2, 21, 48, 48)


def test_boxes_are_added_without_their_masks_and_few_masks_are_select_samples() -> None:
    for mask_fraction, share, names in ((1.0, 1.0, ["det", "joint", "seg"]), (0.25, 0.25, ["joint", "seg"])):
        rows = table("table4", "small", mask_fraction=mask_fraction).rows
        assert [row.name for row in rows] == names
        for row in rows:
            masks, boxes = map(parse_source, row.config.data)
            assert (masks.root.name, masks.split, masks.mask_fraction, masks.masks) == ("VOC2012", "train", share, None)
            assert (boxes.root.name, boxes.split, boxes.masks) == ("VOC2007", "trainval", ())
    (only,) = table("table3", "small").row("joint").config.data
    assert only == parse_source(only).text == "voc:{root}/VOCdevkit/VOC2012@train"


def test_a_plan_gives_every_run_a_folder_its_seed_and_the_protocol() -> None:
    found = table("table3", "full")
    plan = RunPlan(found, Path("there"), Path("sets"), seeds=2, encoder_weights=Path("resnet50.pth"))
    clean, authors = (replace(plan, protocol=name).config(found.row("joint"), 1) for name in ("clean", "authors"))
    assert (clean.out, clean.root, clean.seed) == (Path("there/joint-seed1"), Path("sets"), 1)
    assert (clean.drop_leaks, clean.allow_leaks) == (True, False)
    assert (authors.drop_leaks, authors.allow_leaks) == (False, True)
    assert (clean.tasks, clean.encoder_weights) == (ALL_TASKS, Path("resnet50.pth"))


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("table2", "full", "table2 is scored by VOC2012's test server alone; `blitznet train table2-300` makes"),
        ("table7", "small", "table7 says how fast networks are, which is measured, not learned: `blitznet bench"),
        ("figure4", "full", "figure4 says how fast"),
        ("table5", "small", "table5 at the small scale needs COCO's 80 classes.*give --scale full"),
        ("table6", "small", "table6 at the small scale needs COCO's 80 classes"),
        ("table9", "full", "there is no table 'table9'; tables are table1, table3"),
    ],
)
def test_what_is_not_possible_is_told(name: str, scale: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        table(name, "small" if scale == "small" else "full")


def test_every_table_is_made_or_never_is() -> None:
    assert {*_FULL, *_UNSUPPORTED} == set(get_args(Name))
    assert {*_SMALL, *_NOT_SMALL} == set(_FULL)


def test_mistakes_with_the_mask_fraction() -> None:
    with pytest.raises(UsageError, match="--mask_fraction must be above 0 and at most 1, came 0"):
        table("table4", "small", mask_fraction=0)
    for name, scale in (("table3", "small"), ("table4", "full")):
        with pytest.raises(UsageError, match="--mask_fraction is for table4 at the small scale; leave it out"):
            table(name, "small" if scale == "small" else "full", mask_fraction=0.5)
