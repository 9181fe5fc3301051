"""reproduce: complete runs are reused, interrupted ones resumed, and the scores are those of the result files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import DataError, UsageError
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import accumulate, compare_results, compute_report
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
    """Record the folders of all further training runs."""
    trained = []

    def counted(config: TrainConfig, **others: Any) -> Path:
        trained.append(config.out)
        return train(config, **others)

    monkeypatch.setattr(module, "train", counted)
    return trained


@pytest.mark.slow
def test_table_is_trained_once_and_then_only_scored(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    trained = count_training(monkeypatch)
    result = reproduce(plan, progress=lambda *call: calls.append(call))
    assert trained == [plan.folder / f"{name}-seed0" for name in TASKS]
    assert ("seg, seed 0", 4, 4) in calls
    assert ("seg, seed 0: scores", 3, 3) in calls
    assert set(result.scores) == {("det", "mAP"), ("joint", "mAP"), ("joint", "mIoU"), ("seg", "mIoU")}
    assert {len(values) for values in result.scores.values()} == {1}
    assert set(result.differences) <= {("det", "mAP"), ("seg", "mIoU")}
    again = reproduce(plan)
    assert len(trained) == 3
    assert again == result
    more = reproduce(replace(plan, seeds=2))
    assert trained[3:] == [plan.folder / f"{name}-seed1" for name in TASKS]
    assert {key: values[:1] for key, values in more.scores.items()} == dict(result.scores)


def test_every_row_is_checked_before_the_first_one_trains(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = count_training(monkeypatch)
    *rows, last = plan.table.rows
    for changes, error, message in (
        ({"data": ("voc:{root}/train@train,masks=SegmentationClassAug",)}, DataError, "SegmentationClassAug: expected"),
        (
            {"data": ("voc:{root}/train@SegmentationAug/train",)},
            DataError,
            "benchmark_RELEASE beside the folder VOCdev",
        ),
        ({"model": "tiny-lite", "init": "encoder"}, UsageError, "the package has no weights of the encoder tiny"),
    ):
        broken = replace(last, config=replace(last.config, **changes))
        with pytest.raises(error, match=message):
            reproduce(replace(plan, table=replace(plan.table, rows=(*rows, broken))))
    (plan.root / "train" / "JPEGImages" / "toy_0003.png").unlink()
    with pytest.raises(DataError, match=r"expected 7 images, got 1 paths that do not exist, .*toy_0003\."):
        reproduce(plan)
    assert not trained


def test_options_of_the_machine_reach_every_run(plan: RunPlan) -> None:
    machine = {"workers": 3, "device": "cpu", "accumulate": 2}
    config = replace(plan, machine=machine).config(plan.table.rows[0], 0)
    assert (config.workers, config.device, config.accumulate) == (3, "cpu", 2)


def test_scores_are_those_of_the_result_files(plan: RunPlan) -> None:
    result = reproduce(plan)
    det, joint, seg = (plan.folder / f"{name}-seed0" / RESULTS for name in TASKS)
    assert read_results(det).tasks == ("detection",)
    sets = open_sources([VAL.replace("{root}", str(plan.root))], synthetic_data.NAMES)
    stored = read_results(joint)
    total = compute_report([VAL], accumulate(stored.result_for, sets)).total
    assert result.scores["joint", "mIoU"] == (total.segmentation.miou,)
    assert result.scores["joint", "mAP"] == (total.detection.ap50_area,)
    assert result.differences["seg", "mIoU"] == compare_results(seg, joint, sets, rounds=ROUNDS)["miou"]


@pytest.mark.slow
def test_interrupted_run_is_resumed(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(plan.config(plan.table.rows[0], 0), out=plan.folder / "whole")
    train(whole)

    def interrupt(config: TrainConfig, **others: Any) -> Path:
        train(config, stop_after=3, **others)
        raise TrainingInterrupted("stopped after step 3")

    monkeypatch.setattr(module, "train", interrupt)
    with pytest.raises(TrainingInterrupted):
        reproduce(plan)
    out = plan.folder / "det-seed0"
    assert not (out / RESULTS).exists()
    monkeypatch.setattr(module, "train", train)
    reproduce(plan)
    assert_equal(whole.out / "last.safetensors", out / "last.safetensors")
    assert [line["step"] for line in lines(out) if "loss/total" in line] == [1, 2, 3, 4]


@pytest.mark.slow
def test_missing_predictions_and_longer_runs(plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_no_masks_at_all(plan: RunPlan) -> None:
    table = toy_table(data="voc:{root}/train@train,mask_fraction=0")
    _, joint, seg = table.rows
    result = reproduce(replace(plan, table=replace(table, rows=(joint,))))
    assert set(result.scores) == {("joint", "mAP")}
    with pytest.raises(UsageError, match=r"^--tasks segmentation: expected training sets with masks, got none"):
        reproduce(replace(plan, table=replace(table, rows=(seg,))))


def test_other_options_in_the_folder_are_refused(plan: RunPlan) -> None:
    reproduce(plan)
    rows = tuple(replace(row, config=replace(row.config, lr=0.5)) for row in plan.table.rows)
    with pytest.raises(
        UsageError, match=r"det-seed0: expected a run with the same options, got another: --lr 0\.5, was 0\.003"
    ):
        reproduce(replace(plan, table=replace(plan.table, rows=rows)))


@pytest.mark.slow
def test_differences_of_all_ap_columns_use_the_area_rule(plan: RunPlan) -> None:
    columns = (MetricColumn("AP", "coco_ap", VAL), MetricColumn("mAP", "ap50_11point", VAL))
    reproduce(plan)
    result = score_table(replace(plan, table=replace(plan.table, columns=columns)))
    assert set(result.scores) == {(row, column) for row in ("det", "joint") for column in ("AP", "mAP")}
    assert (
        result.differences["det", "AP"]
        == result.differences["det", "mAP"]
        == score_table(plan).differences["det", "mAP"]
    )
