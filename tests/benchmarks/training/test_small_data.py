from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks._lib.scores import Scores
from benchmarks.training import small_data
from benchmarks.training.small_data import (
    SETS,
    VARIANTS,
    Options,
    Row,
    SmallSet,
    make_goals,
    make_table,
    measure,
    open_set,
    ratios,
    run_config,
)
from blitznet.core.sample import Dataset
from blitznet.train.config import TrainConfig
from blitznet.train.recipes import finetune_config
from support import synthetic_data

OPTIONS = Options(
    sets=("coco-animals", "camvid"), variants=("recipe", "strong", "SSDLite heads"), steps=40, seeds=(0, 1)
)


def test_variants_change_the_recipe() -> None:
    configs = {name: run_config(name, SETS["voc-sheep"], 2, OPTIONS) for name in VARIANTS}
    recipe = configs["recipe"]
    assert replace(
        recipe, steps=600, warmup=30, seed=0, class_names=(), log_every=10, loggers=("tensorboard",)
    ) == replace(finetune_config(), workers=recipe.workers)
    assert len({config.to_json() for config in configs.values()}) == len(VARIANTS)
    assert (configs["steps x 2"].steps, configs["steps / 2"].steps) == (80, 20)
    assert configs["SSDLite heads"].tasks == ("detection",)
    assert run_config("recipe", SETS["camvid"], 0, OPTIONS).tasks == ("segmentation",)
    assert run_config("SSDLite heads", SETS["camvid"], 0, OPTIONS).tasks == ()


def test_scored_images_are_not_trained_on(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(30, size=(32, 40)))
    small = SmallSet(synthetic_data.NAMES, (text,), (), 8)
    (training,), (scored,) = open_set(small, OPTIONS)
    assert len(training) == 8
    assert set(training.ids).isdisjoint(scored.ids)
    assert all(len(training[index].labels) for index in range(len(training)))
    assert len(open_set(small, replace(OPTIONS, max_images=3))[1][0]) == 3


def test_images_without_objects_are_chosen_only_for_masks(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(30, size=(32, 40)))
    with_boxes, with_masks = (
        open_set(SmallSet(synthetic_data.NAMES[:1], (text,), (), 30, tasks), OPTIONS)[0][0]
        for tasks in (("detection", "segmentation"), ("segmentation",))
    )
    assert all(len(with_boxes[index].labels) for index in range(len(with_boxes)))
    assert 0 < len(with_boxes) < len(with_masks) == 30


def test_completed_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def train_and_score(name: str, config: TrainConfig, sets: Sequence[Dataset], scored: Sequence[Dataset]) -> Scores:
        if len(trained) == 4:
            raise KeyboardInterrupt
        trained.append(name)
        return Scores(0.5 if "detection" in config.tasks else None, 0.25 if "segmentation" in config.tasks else None)

    monkeypatch.setattr(small_data, "train_and_score", train_and_score)
    monkeypatch.setattr(small_data, "open_set", lambda *_: ([], []))
    options = replace(OPTIONS, out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure(options)
    first = list(trained)
    trained.clear()
    with pytest.raises(KeyboardInterrupt):
        measure(options)
    assert trained[0] == "camvid, strong, seed 0"
    assert not set(first) & set(trained)
    trained.clear()
    rows = measure(options)
    assert {(row.variant, row.set) for row in rows} == {
        *((name, "coco-animals") for name in OPTIONS.variants),
        ("recipe", "camvid"),
        ("strong", "camvid"),
    }
    assert all(len(row.seeds) == 2 for row in rows)


def test_ratios_compare_the_tasks_that_a_variant_has() -> None:
    rows = [
        Row("recipe", "coco-animals", Scores(0.4, 0.6), ()),
        Row("strong", "coco-animals", Scores(0.5, 0.7), ()),
        Row("SSDLite heads", "coco-animals", Scores(0.2, None), ()),
        Row("recipe", "camvid", Scores(None, 0.5), ()),
        Row("strong", "camvid", Scores(None, 0.6), ()),
    ]
    assert ratios(rows) == {"recipe": 1.0, "strong": pytest.approx(1.2), "SSDLite heads": 0.5}
    table = make_table(rows, OPTIONS)
    assert table.columns == (
        "fine-tuning",
        "coco-animals: AP50",
        "coco-animals: mean IoU",
        "camvid: mean IoU",
        "of the recipe",
    )
    assert table.rows[1] == ("strong", "50.0 %", "70.0 %", "60.0 %", "1.20")
    assert table.rows[2] == ("SSDLite heads", "20.0 %", "-", "-", "0.50")
    (goal,) = make_goals(rows)
    assert goal.met
    assert "(strong)" in goal.what
