"""The paper's recipes: complete configs with the paper's schedules and datasets."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blitznet.core.classes import COCO, VOC
from blitznet.core.errors import UsageError
from blitznet.core.models import MODELS, get_spec
from blitznet.data.augment import POLICIES
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import build
from blitznet.paper.recipes import PAPER_RECIPES, paper_recipe
from blitznet.train.initialize import derive_spec


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_recipe_is_complete(name: str) -> None:
    recipe = paper_recipe(name)
    config = recipe.config
    assert recipe.source.startswith("Table ")
    assert recipe.cost
    assert recipe.expected
    sources = [parse_source(text) for text in config.resolve_root((*config.data, *config.val))]
    assert all(source.root.is_relative_to(Path("data")) for source in sources)
    assert sources
    assert config.policy in POLICIES
    assert list(config.milestones) == sorted(config.milestones)
    assert all(milestone < config.steps for milestone in config.milestones)
    assert not config.data or config.data != config.val


def test_run_folders_differ() -> None:
    folders = [paper_recipe(name).config.out for name in PAPER_RECIPES]
    assert len(set(folders)) == len(folders)


def test_networks_can_be_built() -> None:
    specs = set()
    for name in PAPER_RECIPES:
        config = paper_recipe(name).config
        if config.model in MODELS:
            specs.add(derive_spec(get_spec(config.model), config, config.class_names))
    for spec in specs:
        with torch.device("meta"):
            build(spec)


@pytest.mark.parametrize(
    ("name", "model", "batch", "steps", "milestones", "tasks"),
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
def test_schedules(name: str, model: str, batch: int, steps: int, milestones: tuple[int, ...], tasks: int) -> None:
    config = paper_recipe(name).config
    assert (config.model, config.batch, config.steps, config.milestones) == (model, batch, steps, milestones)
    assert len(config.tasks) == tasks


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_common_options(name: str) -> None:
    config = paper_recipe(name).config
    assert (config.optimizer, config.lr, config.weight_decay) == ("adam", 1e-4, 5e-4)
    assert (config.policy, config.schedule, config.ema, config.clip_grad) == ("ssd", "multistep", None, None)
    assert config.drop_leaks
    assert not config.match_original


_VOC07, _VOC12 = "voc:{root}/VOCdevkit/VOC2007", "voc:{root}/VOCdevkit/VOC2012"
_AUG = f"{_VOC12}@SegmentationAug/train,masks=SegmentationClass+SegmentationClassAug"
_TRAINVAL = (f"{_VOC07}@trainval", f"{_VOC12}@trainval")
_WITH_MASKS = (f"{_VOC07}@trainval", f"{_VOC12}@trainval,masks=SegmentationClass+SegmentationClassAug")
_TEST07, _VAL12 = f"{_VOC07}@test", f"{_VOC12}@Segmentation/val"
_COCO14, _COCO17, _MINIVAL = (
    ("coco:{root}/coco@train2014",),
    ("coco:{root}/coco@train2017",),
    "coco:{root}/coco@val2017",
)
_BOTH = ("detection", "segmentation")


SETS: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("table1-ssd300", "table1-300-s8", "table1-300-s4", "table1-512-s8"), _TRAINVAL, (_TEST07,), ("detection",)),
    (("table1-300-s4-seg", "table1-512-s8-seg"), _WITH_MASKS, (_TEST07,), _BOTH),
    (("table2-300", "table2-300-coco", "table2-512", "table2-512-coco"), _WITH_MASKS, (), _BOTH),
    (("table3-det",), (_AUG,), (_VAL12,), ("detection",)),
    (("table3-joint",), (_AUG,), (_VAL12,), _BOTH),
    (("table3-seg",), (_AUG,), (_VAL12,), ("segmentation",)),
    (("table4-det",), (_AUG, f"{_VOC07}@trainval,masks=none"), (_VAL12,), ("detection",)),
    (("table4-joint",), (_AUG, f"{_VOC07}@trainval,masks=none"), (_VAL12,), _BOTH),
    (("table4-seg",), (_AUG, f"{_VOC07}@trainval,masks=none"), (_VAL12,), ("segmentation",)),
    (("table5-det",), _COCO14, (_MINIVAL,), ("detection",)),
    (("table5-joint",), _COCO14, (_MINIVAL,), _BOTH),
    (("table5-seg",), _COCO14, (_MINIVAL,), ("segmentation",)),
    (("table6-300", "table6-512"), _COCO17, (_MINIVAL,), _BOTH),
    (
        ("table8-hourglass", "table8-refine", "table8-resskip-plain", "table8-resskip"),
        (_AUG, f"{_VOC07}@trainval,masks=none"),
        (_TEST07, _VAL12),
        _BOTH,
    ),
)
"""names of recipes, and their training sets, evaluation sets and tasks as the paper's section 4 names them"""


@pytest.mark.parametrize(("names", "data", "val", "tasks"), SETS)
def test_sets_and_tasks_are_those_of_the_paper(
    names: tuple[str, ...], data: tuple[str, ...], val: tuple[str, ...], tasks: tuple[str, ...]
) -> None:
    for name in names:
        config = paper_recipe(name).config
        assert (config.data, config.val, config.tasks) == (data, val, tasks), name
        assert config.class_names == (COCO if name.startswith(("table5", "table6")) else ()), name
        for text in (*config.data, *config.val):
            parse_source(text)


def test_models_and_initial_weights_are_those_of_the_paper() -> None:
    models = {name: (paper_recipe(name).config.model, paper_recipe(name).config.init) for name in PAPER_RECIPES}
    for name, (model, init) in models.items():
        if name in ("table2-300-coco", "table2-512-coco"):
            size = "blitznet512-s8" if "512" in name else "blitznet300-s4"
            assert (model, init) == (f"runs/table6-{size}/last.safetensors", "model")
            assert paper_recipe(name.removesuffix("-coco").replace("table2", "table6")).config.out == Path(
                f"runs/table6-{size}"
            )
        else:
            is_512 = "512" in name or name.startswith("table5")
            expected = {"table1-ssd300": "ssd300", "table1-300-s8": "blitznet300-s8"}.get(
                name, "blitznet512-s8" if is_512 else "blitznet300-s4"
            )
            assert (model, init) == (expected, "encoder"), name


def test_every_recipe_is_in_the_table_of_sets() -> None:
    assert sorted(name for names, *_ in SETS for name in names) == sorted(PAPER_RECIPES)


def test_coco_classes_and_fine_tuning_to_voc() -> None:
    assert paper_recipe("table6-512").config.class_names == paper_recipe("table5-seg").config.class_names == COCO
    assert derive_spec(get_spec("blitznet300-s8"), paper_recipe("table1-300-s8").config, ()).classes == VOC
    config = paper_recipe("table2-512-coco").config
    assert (config.init, config.model) == ("model", "runs/table6-blitznet512-s8/last.safetensors")
    assert paper_recipe("table6-512").config.out == Path(config.model).parent


def test_fusion_and_tasks_are_in_the_spec() -> None:
    for name in ("hourglass", "refine", "resskip-plain", "resskip"):
        config = paper_recipe(f"table8-{name}").config
        assert derive_spec(get_spec(config.model), config, ()).network.fusion == name
    config = paper_recipe("table3-det").config
    assert derive_spec(get_spec(config.model), config, ()).tasks == ("detection",)
    with pytest.raises(UsageError, match="--tasks: expected some of detection for ssd300, got segmentation"):
        derive_spec(get_spec("ssd300"), replace(config, tasks=("segmentation",)), ())


def test_unknown_recipe_is_refused() -> None:
    with pytest.raises(UsageError, match="recipe 'table9': expected one of the paper's"):
        paper_recipe("table9")
