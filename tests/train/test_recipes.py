"""Recipes: each is a run that could begin, and says what the paper says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import UsageError
from blitznet.core.models import MODELS, get_spec
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import build
from blitznet.train.initialize import derive_spec
from blitznet.data.augment import POLICIES
from blitznet.train.recipes import RECIPES, recipe

PAPER = [name for name in RECIPES if name.startswith("table")]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_whole_run(name: str) -> None:
    found = recipe(name)
    config = found.config
    assert found.table
    assert found.cost
    assert found.expected
    sources = [parse_source(text) for text in config.resolve_root((*config.data, *config.val))]
    assert all(source.root.is_relative_to(Path("data")) for source in sources)
    assert bool(sources) == (name != "finetune")
    assert config.policy in POLICIES
    assert list(config.milestones) == sorted(config.milestones)
    assert all(drop < config.steps for drop in config.milestones)
    assert not config.data or config.data != config.val


def test_every_recipe_has_a_folder_of_its_own() -> None:
    folders = [recipe(name).config.out for name in RECIPES]
    assert len(set(folders)) == len(folders)


def test_every_recipes_network_can_be_built() -> None:
    contracts = set()
    for name in RECIPES:
        config = recipe(name).config
        if config.model in MODELS:
            contracts.add(derive_spec(get_spec(config.model), config, config.classes))
    for spec in contracts:
        with torch.device("meta"):
            build(spec)


@pytest.mark.parametrize(
    ("name", "model", "batch", "steps", "multistep", "tasks"),
    [
        ("table1-300-s8", "blitznet300-s8", 32, 65_000, (35_000, 50_000), 1),
        ("table1-300-s4-seg", "blitznet300-s4", 32, 65_000, (35_000, 50_000), 2),
        ("table1-512-s8", "blitznet512-s8", 16, 75_000, (45_000, 60_000), 1),
        ("table3-joint", "blitznet300-s4", 32, 40_000, (25_000, 35_000), 2),
        ("table4-det", "blitznet300-s4", 32, 65_000, (35_000, 50_000), 1),
        ("table5-joint", "blitznet512-s8", 16, 700_000, (400_000, 550_000), 2),
        ("table6-300", "blitznet300-s4", 32, 700_000, (400_000, 550_000), 2),
    ],
)
def test_the_papers_schedules(
    name: str, model: str, batch: int, steps: int, drops: tuple[int, ...], tasks: int
) -> None:
    config = recipe(name).config
    assert (config.model, config.batch, config.steps, config.milestones) == (model, batch, steps, drops)
    assert len(config.tasks) == tasks


@pytest.mark.parametrize("name", PAPER)
def test_what_all_runs_of_the_paper_share(name: str) -> None:
    config = recipe(name).config
    assert (config.optimizer, config.lr, config.weight_decay) == ("adam", 1e-4, 5e-4)
    assert (config.policy, config.schedule, config.ema, config.clip) == ("ssd", "multistep", 0, 0)
    assert config.drop_leaks
    assert not config.release


def test_the_sets_of_the_tables() -> None:
    lists = {name: [parse_source(text) for text in recipe(name).config.data] for name in PAPER}
    aug, boxes = lists["table4-joint"]
    assert (aug.split, aug.masks) == ("SegmentationAug/train", ("SegmentationClass", "SegmentationClassAug"))
    assert (boxes.root.name, boxes.split, boxes.masks) == ("VOC2007", "trainval", ())
    assert [source.split for source in lists["table3-seg"]] == ["SegmentationAug/train"]
    val = [parse_source(text) for text in recipe("table8-refine").config.val]
    assert [(source.root.name, source.split) for source in val] == [
        ("VOC2007", "test"),
        ("VOC2012", "Segmentation/val"),
    ]
    assert recipe("table2-300").config.val == ()


def test_coco_is_learned_with_its_annotated_classes_and_carried_to_voc() -> None:
    assert recipe("table6-512").config.classes == recipe("table5-seg").config.classes == COCO
    assert derive_spec(get_spec("blitznet300-s8"), recipe("table1-300-s8").config, ()).classes == VOC
    config = recipe("table2-512-coco").config
    assert (config.start, config.model) == ("model", "runs/table6-blitznet512-s8/last.safetensors")
    assert recipe("table6-512").config.out == Path(config.model).parent


def test_fusion_blocks_and_tasks_reach_thederive_spec() -> None:
    for name in ("hourglass", "refine", "resskip-plain", "resskip"):
        config = recipe(f"table8-{name}").config
        assert derive_spec(get_spec(config.model), config, ()).network.fusion == name
    config = recipe("table3-det").config
    assert derive_spec(get_spec(config.model), config, ()).tasks == ("detection",)
    with pytest.raises(UsageError, match=r"ssd300 does \['detection'\] and the run asks for \['segmentation'\]"):
        derive_spec(get_spec("ssd300"), replace(config, tasks=("segmentation",)), ())


def test_an_unknown_recipe_is_told() -> None:
    with pytest.raises(UsageError, match="there is no recipe 'table9'; `blitznet recipes` lists them"):
        recipe("table9")
