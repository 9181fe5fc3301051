"""A pipeline of all kinds of stages on synthetic data: run, interrupted and resumed, run again."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from blitznet.core.errors import DataError, ModelError, UsageError
from blitznet.export.formats import export
from blitznet.nets.model_files import load_model
from blitznet.pipelines import run as module
from blitznet.pipelines.pipeline import (
    CalibrateStage,
    Pipeline,
    PseudoMaskStage,
    QuantizeStage,
    SoftLabelStage,
    SoupStage,
    TrainStage,
    WiseFtStage,
)
from blitznet.pipelines.run import PipelineResult, RunOptions, run_pipeline
from blitznet.train.config import TrainConfig
from blitznet.train.interrupts import TrainingInterrupted
from blitznet.train.loop import train
from support import synthetic_data, tiny_models
from support.training_runs import assert_equal, tiny_config, toy_sets

BOXES, VAL = "voc:{root}/train@train,masks=none", "voc:{root}/val@val"
CONFIG = tiny_config(
    (BOXES, "folder:{root}/masks"), Path("unused"), model="tiny-lite", class_names=synthetic_data.NAMES, steps=4
)
TOY = Pipeline(
    name="toy",
    stages=(
        TrainStage("base", CONFIG),
        PseudoMaskStage("pseudo-masks", teacher="base", data=(BOXES,)),
        SoftLabelStage("soft-labels", teacher="base", data=(BOXES, VAL)),
        TrainStage(
            "joint",
            replace(CONFIG, seed=1),
            init_from="base",
            pseudo_masks="pseudo-masks",
            soft_labels="soft-labels",
        ),
        SoupStage("soup", models=("base", "joint"), weights=(1.0, 3.0)),
        WiseFtStage("wise-ft", model="joint", initial_fraction=0.25, modules=("encoder", "segmentation")),
        CalibrateStage("calibrated", model="soup", data=(VAL,), holdout=0.9),
        # after four steps, classes of many pixels are nearly equal: a little rounding changes them
        QuantizeStage("int8", model="calibrated", data=(BOXES, VAL), max_images=4, allow_accuracy_drop=True),
    ),
    data=(VAL,),
    expected={"ap50_area": 0.0, "miou": 2.0},
    notes="## Notes\n\nSynthetic.",
)
STAGES = [stage.name for stage in TOY.stages]


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with datasets in `sets` and a completed pipeline in `out`; tests copy it."""
    tiny_models.register()
    folder = tmp_path_factory.mktemp("completed")
    toy_sets(folder / "sets")
    synthetic_data.write_folder(folder / "sets" / "masks", synthetic_data.draw(4, seed=7))
    run(folder)
    return folder


@pytest.fixture
def folder(completed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(completed, tmp_path / "copy"))


def run(folder: Path, pipeline: Pipeline = TOY, notices: list[str] | None = None) -> PipelineResult:
    notices = [] if notices is None else notices
    machine = {"workers": 0, "threads": 1, "device": "cpu"}
    return run_pipeline(pipeline, RunOptions(folder / "sets", folder / "out", machine, notify=notices.append))


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and modification time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_files_and_scores(folder: Path) -> None:
    out, result = folder / "out", run(folder)
    assert {path.name for path in out.iterdir()} == {*STAGES, "evaluation", "toy.onnx", "toy.safetensors", "toy.md"}
    assert (result.model, result.weights, result.card) == (out / "toy.onnx", out / "toy.safetensors", out / "toy.md")
    calibrated, weights = load_file(out / "calibrated/model.safetensors"), load_file(result.weights)
    for name, value in calibrated.items():
        torch.testing.assert_close(weights[name].float(), value.float(), rtol=1e-3, atol=1e-6)
    assert {value.dtype for value in weights.values() if value.ndim > 1} == {torch.float16}
    _, spec = load_model(result.weights)
    assert spec.classes == synthetic_data.NAMES
    assert spec.score_calibration.temperature != 1 or spec.segmentation_temperature != 1
    assert len(list((out / "pseudo-masks" / "masks").rglob("*.png"))) == 7
    assert len(list((out / "soft-labels" / "labels").rglob("*.npz"))) == 7 + 3
    assert [score.name for score in result.scores] == ["ap50_area", "miou"]
    assert [score.is_reached for score in result.scores] == [result.scores[0].value is not None, False]
    card = result.card.read_text()
    assert "Synthetic." in card
    assert "int8" in card


def test_second_run_does_nothing(folder: Path) -> None:
    before, notices = contents(folder), list[str]()
    run(folder, notices=notices)
    assert contents(folder) == before
    assert notices == [f"{k}/8 {name}: complete, skipped" for k, name in enumerate(STAGES, start=1)] + [
        "evaluation: complete, skipped"
    ]


@pytest.mark.slow
def test_interrupted_training_is_resumed(folder: Path, completed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*STAGES[3:], "evaluation"):
        shutil.rmtree(folder / "out" / name)

    def interrupt(config: TrainConfig, **others: object) -> Path:
        train(config, stop_after=3)
        raise TrainingInterrupted("stopped after step 3")

    with monkeypatch.context() as patch:
        patch.setattr(module, "train", interrupt)
        with pytest.raises(TrainingInterrupted):
            run(folder)
    assert json.loads((folder / "out" / "joint" / "stage.json").read_text())["complete"] is False
    resumed = run(folder)
    assert_equal(completed / "out/joint/run/last.safetensors", folder / "out/joint/run/last.safetensors")
    assert_equal(completed / "out/toy.safetensors", resumed.weights)
    assert (completed / "out/toy.onnx").read_bytes() == resumed.model.read_bytes()


def test_other_options_of_a_stage_are_refused(folder: Path) -> None:
    soup = TOY.stages[4]
    assert isinstance(soup, SoupStage)
    stages = (*TOY.stages[:4], replace(soup, weights=(1.0, 1.0)), *TOY.stages[5:])
    with pytest.raises(
        UsageError, match="soup: expected a stage with the same options and inputs, got other weights; "
    ):
        run(folder, replace(TOY, stages=stages))
    (folder / "out" / "base" / "stage.json").write_text("no JSON")
    with pytest.raises(UsageError, match=r"stage\.json: expected the JSON record of a stage"):
        run(folder)


def test_other_images_in_a_list_are_refused(folder: Path) -> None:
    image_list = folder / "sets" / "train" / "ImageSets" / "Main" / "train.txt"
    image_list.write_text("".join(image_list.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        UsageError, match=r"base: expected a stage with .*, got other images of voc:{root}/train@train,"
    ):
        run(folder)


def test_missing_datasets_are_an_error_before_the_first_stage(folder: Path) -> None:
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / "sets" / "val")
    with pytest.raises(DataError, match="expected the folder"):
        run(folder)
    assert not (folder / "out").exists()


@pytest.mark.slow
def test_int8_file_that_differs_from_the_model_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(folder / "out" / "int8")

    def export_other_weights(net: nn.Module, *arguments: Any, **options: Any) -> None:
        net = copy.deepcopy(net)
        for parameter in net.parameters():
            nn.init.normal_(parameter)
        export(net, *arguments, **options)

    monkeypatch.setattr(module, "export", export_other_weights)
    message = "int8/model.onnx: outputs differ .*; keep such a file with `allow_accuracy_drop` of the stage int8"
    int8 = TOY.stages[-1]
    assert isinstance(int8, QuantizeStage)
    with pytest.raises(ModelError, match=message):
        run(folder, replace(TOY, stages=(*TOY.stages[:-1], replace(int8, allow_accuracy_drop=False))))
    assert [path.name for path in (folder / "out" / "int8").iterdir()] == ["stage.json"]

    shutil.rmtree(folder / "out" / "evaluation")
    notices = list[str]()
    run(folder, TOY, notices)
    assert (folder / "out" / "int8" / "model.onnx").is_file()
    assert "int8/model.onnx: outputs differ from the network's" in notices[-1]


@pytest.mark.slow
def test_missing_output_is_made_again(folder: Path) -> None:
    model = folder / "out" / "int8" / "model.onnx"
    before = model.read_bytes()
    model.unlink()
    run(folder)
    assert model.read_bytes() == before


def test_unused_options_of_the_length_do_not_change_a_stage() -> None:
    options = module._train_options(TrainConfig())
    assert "steps" in options
    assert not {"epochs", "patience"} & options.keys()
    assert module._train_options(TrainConfig(epochs=2))["epochs"] == 2


def test_wise_ft_mixes_initial_weights_into_its_modules(completed: Path) -> None:
    initial, trained, mixed = (
        load_file(completed / "out" / path)
        for path in ("base/run/last.safetensors", "joint/run/last.safetensors", "wise-ft/model.safetensors")
    )
    changed = set()
    for name, value in mixed.items():
        if not value.is_floating_point():
            continue
        is_mixed = name.startswith(("encoder.", "segmentation."))
        expected = 0.25 * initial[name] + 0.75 * trained[name] if is_mixed else trained[name]
        torch.testing.assert_close(value, expected)
        if not torch.equal(value, trained[name]):
            changed.add(name.partition(".")[0])
    assert changed == {"encoder", "segmentation"}
    assert load_model(completed / "out/wise-ft/model.safetensors")[1].provenance.endswith(
        "; mixed with 25% of the initial weights in 2 modules"
    )
