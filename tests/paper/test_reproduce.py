"""Tables made again: finished runs are reused, stopped ones go on, and the numbers are those of the result files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import UsageError
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import compare, evaluate_file
from blitznet.metrics.results import read_results
from blitznet.paper import reproduce as module
from blitznet.paper.reproduce import RESULTS, ROUNDS, reproduce, score_table
from blitznet.paper.tables import MetricColumn, RunPlan
from blitznet.train.config import TrainConfig
from blitznet.train.interrupts import TrainingInterrupted
from blitznet.train.loop import train
from support import synthetic_data, tiny_models
from support.toy_table import TASKS, VAL, toy_table
from support.training_runs import assert_equal, lines, toy_sets


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    toy_sets(tmp_path / "sets")
    return RunPlan(toy_table(), tmp_path / "out", tmp_path / "sets")


def count_training(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that are trained in from now on."""
    trained = []

    def counted(config: TrainConfig, **others: Any) -> Path:
        trained.append(config.out)
        return train(config, **others)

    monkeypatch.setattr(module, "train", counted)
    return trained


def test_a_table_is_made_once_and_then_only_score_table(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, int, int]] = []
    trained = count_training(monkeypatch)
    made = reproduce(plan, progress=lambda *what: shown.append(what))
    assert trained == [plan.folder / f"{name}-seed0" for name in TASKS]
    assert ("seg, seed 0", 4, 4) in shown
    assert ("seg, seed 0: scores", 3, 3) in shown
    assert set(made.scores) == {("det", "mAP"), ("joint", "mAP"), ("joint", "mIoU"), ("seg", "mIoU")}
    assert {len(values) for values in made.scores.values()} == {1}
    assert set(made.differences) <= {("det", "mAP"), ("seg", "mIoU")}
    again = reproduce(plan)
    assert len(trained) == 3
    assert again == made
    more = reproduce(replace(plan, seeds=2))
    assert trained[3:] == [plan.folder / f"{name}-seed1" for name in TASKS]
    assert {key: values[:1] for key, values in more.scores.items()} == dict(made.scores)


def test_the_numbers_are_those_of_the_result_files(plan: RunPlan) -> None:
    made = reproduce(plan)
    det, joint, seg = (plan.folder / f"{name}-seed0" / RESULTS for name in TASKS)
    assert read_results(det).tasks == ("detection",)
    sets = open_sources([VAL.replace("{root}", str(plan.root))], synthetic_data.NAMES)
    total = evaluate_file(joint, sets).total
    assert made.scores["joint", "mIoU"] == (total.segmentation.miou,)
    assert made.scores["joint", "mAP"] == (total.detection.ap50_area,)
    assert made.differences["seg", "mIoU"] == compare(seg, joint, sets, rounds=ROUNDS)["miou"]


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(plan.config(plan.table.rows[0], 0), out=plan.folder / "whole")
    train(whole)

    def stopping(config: TrainConfig, **others: Any) -> Path:
        train(config, stop_after=3, **others)
        raise TrainingInterrupted("stopped after step 3")

    monkeypatch.setattr(module, "train", stopping)
    with pytest.raises(TrainingInterrupted):
        reproduce(plan)
    out = plan.folder / "det-seed0"
    assert not (out / RESULTS).exists()
    monkeypatch.setattr(module, "train", train)
    reproduce(plan)
    assert_equal(whole.out / "last.safetensors", out / "last.safetensors")
    assert [line["step"] for line in lines(out) if "loss/total" in line] == [1, 2, 3, 4]


def test_lost_predictions_are_written_again_and_longer_runs_predict_anew(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce(plan)
    results = plan.folder / "joint-seed0" / RESULTS
    before = results.read_bytes()
    results.unlink()
    trained = count_training(monkeypatch)
    reproduce(plan)
    assert trained == [results.parent]
    assert results.read_bytes() == before
    reproduce(replace(plan, table=toy_table(steps=5)))
    assert len(trained) == 4
    assert results.read_bytes() != before
    assert json.loads((results.parent / "config.json").read_text())["steps"] == 5


def test_few_masks_are_learned_from_where_batches_may_have_none(plan: RunPlan) -> None:
    table = toy_table(data="voc:{root}/train@train,mask_fraction=0")
    made = reproduce(replace(plan, table=replace(table, rows=table.rows[1:])))
    assert set(made.scores) == {("joint", "mAP"), ("joint", "mIoU"), ("seg", "mIoU")}


def test_another_run_in_the_folder_is_refused(plan: RunPlan) -> None:
    reproduce(plan)
    rows = tuple(replace(row, config=replace(row.config, lr=0.5)) for row in plan.table.rows)
    with pytest.raises(UsageError, match=r"det-seed0: the run there was begun otherwise: --lr 0\.5, was 0\.003"):
        reproduce(replace(plan, table=replace(plan.table, rows=rows)))


def test_cocos_measure_and_eleven_points_are_led_in_by_the_area_rule(plan: RunPlan) -> None:
    figures = (MetricColumn("AP", "coco_ap", VAL), MetricColumn("mAP", "ap50_11point", VAL))
    reproduce(plan)
    made = score_table(replace(plan, table=replace(plan.table, columns=figures)))
    assert set(made.scores) == {(row, figure) for row in ("det", "joint") for figure in ("AP", "mAP")}
    assert made.differences["det", "AP"] == made.differences["det", "mAP"] == score_table(plan).differences["det", "mAP"]
