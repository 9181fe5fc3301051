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
from blitznet.paper.recipes import PAPER_RECIPES, paper_recipe
from blitznet.paper.tables import _FULL, _NOT_SMALL, _SMALL, _UNSUPPORTED, RunPlan, TableName, table
from blitznet.train.initialize import derive_spec


@pytest.mark.parametrize("name", _FULL)
def test_full_tables_are_the_recipes(name: str) -> None:
    paper_table = table(name, "full")
    assert {f"{name}-{row.name}" for row in paper_table.rows} == {
        recipe for recipe in PAPER_RECIPES if recipe.startswith(name)
    }
    for row in paper_table.rows:
        expected = paper_recipe(f"{name}-{row.name}")
        assert row.config == expected.config
        assert ", ".join(f"{column} {value}" for column, value in row.paper.items()) == expected.expected
        assert {column.data for column in paper_table.columns} == set(row.config.val)
        assert set(row.paper) == {column.name for column in paper_table.columns if row.has(column)}
    assert paper_table.row(paper_table.reference) in paper_table.rows


def test_metrics() -> None:
    metrics = {name: [column.metric for column in table(name, "full").columns] for name in _FULL}
    assert metrics["table1"] == ["ap50_11point"]
    assert metrics["table8"] == ["ap50_11point", "miou"]
    assert metrics["table3"] == metrics["table4"] == ["ap50_area", "miou"]
    assert metrics["table6"] == ["coco_ap", "coco_ap50"]
    assert table("table8", "full").eval_sets == paper_recipe("table8-resskip").config.val


@pytest.mark.parametrize("name", _SMALL)
def test_small_rows_differ_in_one_option(name: str) -> None:
    paper_table, paper = table(name, "small"), table(name, "full")
    papers = [row for row in paper.rows if name != "table1" or row.name in ("ssd300", "300-s8")]
    assert [(row.name, row.paper) for row in paper_table.rows] == [(row.name, row.paper) for row in papers]
    option = {"table1": "model", "table8": "fusion"}.get(name, "tasks")
    assert len({getattr(row.config, option) for row in paper_table.rows}) == len(paper_table.rows)
    first = paper_table.rows[0].config
    for row, full in zip(paper_table.rows, papers, strict=True):
        assert replace(row.config, **{option: getattr(first, option)}) == first
        assert (row.config.tasks, row.config.fusion) == (full.config.tasks, full.config.fusion)
        assert row.config.val == paper_table.eval_sets
        assert not set(row.config.data) & set(row.config.val)


@pytest.mark.slow
def test_small_network_fits_its_anchors() -> None:
    for row in table("table8", "small").rows:
        spec = derive_spec(get_spec(row.config.model), row.config, ())
        assert spec.size == (192, 192)
        assert spec.network.fusion == row.name
        with torch.device("meta"):
            outputs = build(spec)(torch.zeros(2, 3, *spec.size))
        cells = sum(height * width for height, width in feature_map_sizes(spec.anchors, spec.size))
        assert outputs.logits is not None
        assert outputs.segmentation_logits is not None
        assert outputs.logits.shape == (2, cells * spec.anchors.num_anchors_per_cell, 21)
        assert outputs.segmentation_logits.shape == (2, 21, 48, 48)


def test_mask_fraction() -> None:
    for fraction, names in ((1.0, ["det", "joint", "seg"]), (0.25, ["joint", "seg"])):
        rows = table("table4", "small", mask_fraction=fraction).rows
        assert [row.name for row in rows] == names
        for row in rows:
            masks, boxes = map(parse_source, row.config.data)
            assert (masks.root.name, masks.split, masks.mask_fraction, masks.masks) == (
                "VOC2012",
                "train",
                fraction,
                None,
            )
            assert (boxes.root.name, boxes.split, boxes.masks) == ("VOC2007", "trainval", ())
    (only,) = table("table3", "small").row("joint").config.data
    assert only == parse_source(only).text == "voc:{root}/VOCdevkit/VOC2012@train"


def test_plan_sets_folder_seed_and_protocol() -> None:
    paper_table = table("table3", "full")
    plan = RunPlan(paper_table, Path("out"), Path("sets"), seeds=2, encoder_weights=Path("resnet50.pth"))
    clean, authors = (replace(plan, protocol=name).config(paper_table.row("joint"), 1) for name in ("clean", "authors"))
    assert (clean.out, clean.root, clean.seed) == (Path("out/joint-seed1"), Path("sets"), 1)
    assert (clean.drop_leaks, clean.allow_leaks) == (True, False)
    assert (authors.drop_leaks, authors.allow_leaks) == (False, True)
    assert (clean.tasks, clean.encoder_weights) == (ALL_TASKS, Path("resnet50.pth"))


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("table2", "full", "table2 is scored by the VOC2012 test server only; `blitznet train table2-300` trains"),
        ("table7", "small", "table7 measures speed, not accuracy; run `blitznet bench"),
        ("figure4", "full", "figure4 measures speed"),
        ("table5", "small", "table5 at the small scale needs more than a few hundred images.*use --scale full"),
        ("table6", "small", "table6 at the small scale needs more than a few hundred images"),
        ("table9", "full", "table 'table9': expected one of table1, table3"),
    ],
)
def test_tables_that_cannot_be_reproduced(name: str, scale: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        table(name, "small" if scale == "small" else "full")


def test_every_table_is_supported_or_refused() -> None:
    assert {*_FULL, *_UNSUPPORTED} == set(get_args(TableName))
    assert {*_SMALL, *_NOT_SMALL} == set(_FULL)


def test_invalid_mask_fractions() -> None:
    with pytest.raises(UsageError, match="--mask-fraction: expected a number above 0 and at most 1, got 0"):
        table("table4", "small", mask_fraction=0)
    for name, scale in (("table3", "small"), ("table4", "full")):
        with pytest.raises(UsageError, match="--mask-fraction: expected table4 at the small scale, got"):
            table(name, "small" if scale == "small" else "full", mask_fraction=0.5)
