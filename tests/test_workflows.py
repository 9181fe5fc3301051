"""Training, validation, export and bulk prediction from Python."""

import dataclasses
import inspect
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

import blitznet
from blitznet.cli.batch import BatchPredict
from blitznet.cli.export import Export
from blitznet.cli.main import main
from blitznet.core.errors import BlitzNetError, UsageError
from blitznet.export.exporter import ExportedModel
from blitznet.metrics.report import DetectionScores, Report, SegmentationScores, SetScores
from blitznet.train.config import AUTO_BATCH
from blitznet.train.recipes import finetune_config
from blitznet.workflows import _train_config, export_file
from support import tiny_models
from support.bulk import parts, write_images
from support.fake_engines import write_onnx
from support.training_runs import toy_sets
from support.videos import write_video
from support.without_torch import python


def test_a_model_is_trained_validated_and_exported(tmp_path: Path) -> None:
    tiny_models.register()
    data, val = toy_sets(tmp_path)
    notices: list[str] = []
    trained = blitznet.train(
        data=data,
        val=val,
        model="tiny",
        init="random",
        epochs=1,
        batch=4,
        workers=0,
        threads=1,
        device="cpu",
        out=str(tmp_path / "run"),
        notify=notices.append,
    )
    assert trained.folder == tmp_path / "run"
    assert trained.weights == tmp_path / "run" / "best.safetensors"
    assert trained.scores.keys() >= {"score/ap50", "score/miou"}
    assert any(notice.startswith("step ") and "ap50" in notice for notice in notices)
    predictor = trained.load(min_score=0.3)
    report = blitznet.validate(trained.weights, data=[val])
    assert report.to_dict() == blitznet.validate(predictor, data=val).to_dict()  # evaluation keeps all detections
    exported = blitznet.export(trained.folder, out=tmp_path / "a.onnx")
    assert exported.path == tmp_path / "a.onnx"
    assert len(blitznet.load(exported.path, min_score=None)([str(path) for path in _images(tmp_path)])) == 7
    (tmp_path / "mine.onnx").write_bytes(b"not written by the package")
    with pytest.raises(UsageError, match=r"mine\.onnx"):
        blitznet.export(trained.folder, out=tmp_path / "mine.onnx")


def _images(root: Path) -> list[Path]:
    return sorted((root / "train" / "JPEGImages").iterdir())


def test_the_defaults_are_those_of_the_command() -> None:
    assert _train_config(None, {}) == finetune_config()
    assert _train_config("lite", {"imgsz": 128, "out": "runs/a", "milestones": [3]}).imgsz == (128, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": 3}, "unknown option 'epoch' of training; did you mean 'epochs'?"),
        ({"epochs": 3, "steps": 3}, "steps, epochs: expected one of them, got both"),
        ({"recipe": "light"}, "recipe: expected one of .* got 'light'; did you mean 'lite'"),
    ],
)
def test_wrong_options_are_errors_of_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        blitznet.train(data="voc:nothing@train", **options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch": "auto"}, AUTO_BATCH),
        ({"imgsz": 128}, (128, 128)),
        ({"imgsz": np.int64(128)}, (128, 128)),
        ({"imgsz": [96, 128]}, (96, 128)),
        ({"lr": np.float64(0.1)}, 0.1),
        ({"milestones": [3]}, (3,)),
        ({"device": 0}, "0"),
        ({"model": Path("a.safetensors")}, "a.safetensors"),
        ({"out": "runs/a"}, Path("runs/a")),
        ({"pseudo_masks": "masks"}, Path("masks")),
        ({"soft_labels": "labels"}, Path("labels")),
        ({"encoder_weights": "a.pth"}, Path("a.pth")),
        ({"tasks": "detection"}, ("detection",)),
        ({"freeze": "encoder"}, ("encoder",)),
        ({"class_names": ["cat"]}, ("cat",)),
    ],
)
def test_options_are_converted(options: dict[str, Any], expected: Any) -> None:
    config = _train_config(None, options)
    assert [getattr(config, name) for name in options] == [expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": "3"}, "--epochs: expected a whole number, got '3'"),
        ({"epochs": 2.5}, "--epochs: expected a whole number, got 2.5"),
        ({"lr": "0.1"}, "--lr: expected a finite number, got '0.1'"),
        ({"milestones": 3}, "--milestones: expected a list of whole numbers, got 3"),
        ({"imgsz": "416"}, "--imgsz: expected 2 numbers, got ('416',)"),
        ({"optimizer": "Adam"}, "--optimizer: expected one of adam, adamw, sgd, got 'Adam'; did you mean 'adam'?"),
        ({"policy": "wild"}, "--policy: expected one of "),
        ({"freeze": ["encodr"]}, "got ('encodr',); did you mean 'encoder'?"),
        ({"loggers": None}, "--loggers: expected some of tensorboard, mlflow, wandb, got None"),
        ({"keep": "yes"}, "--keep: expected true or false, got 'yes'"),
        ({"cache": True}, "--cache: expected one of "),
    ],
)
def test_options_of_another_type_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        _train_config(None, options)
    assert message in str(raised.value)


@pytest.mark.parametrize("data", [None, 3, {"train": "a"}, b"a", [None]])
def test_datasets_are_texts_or_paths(data: Any) -> None:
    for call in (blitznet.train, lambda data: blitznet.validate(data=data), blitznet.batch):
        with pytest.raises(UsageError, match=r"^(data|sources): expected a text or a path, or a list of them, got "):
            call(data)


def test_export_has_the_options_and_defaults_of_the_command() -> None:
    parameters = inspect.signature(export_file).parameters
    defaults = {name: item.default for name, item in parameters.items() if name not in ("model", "progress")}
    assert defaults == {item.name: item.default for item in dataclasses.fields(Export) if item.name != "model"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "onx"}, "--to: expected one of onnx, .*, got 'onx'; did you mean 'onnx'"),
        ({"precision": "fp16"}, "--precision: expected one of "),
        ({"imgsz": "416"}, "--imgsz: expected 2 numbers, got "),
        ({"imgsz": 0}, "--imgsz: expected sizes of 1 pixel or more, got 0 0"),
    ],
)
def test_wrong_options_of_export_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        blitznet.export("blitznet300-lite", **options)


def test_videos_are_files_folders_and_globs(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 3)
    for source in (tmp_path / "images", str(tmp_path / "images" / "*")):
        with closing(blitznet.open_video(source, fps=10)) as video:
            assert [frame.seconds for frame in video.frames()] == pytest.approx([0, 0.1, 0.2])
    write_video(tmp_path / "clip.mp4", frames=2)
    with closing(blitznet.open_video(tmp_path / "clip.mp4")) as video:
        assert len(list(video.frames())) == 2
    with pytest.raises(BlitzNetError, match="63"):
        blitznet.open_video(63)
    with pytest.raises(UsageError, match=r"^fps: expected 0\.01 or more, got 0$"):
        blitznet.open_video(tmp_path / "images", fps=0)


def test_a_report_and_an_exported_model_print_one_line() -> None:
    scores = SetScores("voc:a@val", 7, DetectionScores(ap50_area=0.5), SegmentationScores(miou=0.25))
    assert repr(Report(scores, (scores,))) == "Report(voc:a@val; 7 images; ap50_area 0.500; miou 0.250)"
    exported = ExportedModel(Path("a.onnx"), (), None, None, 20)
    assert repr(exported) == "ExportedModel(a.onnx; compared with the network on 20 images)"


def test_packages_of_the_same_name_are_functions_too() -> None:
    for function in (blitznet.train, blitznet.export):
        assert isinstance(cast("object", function), ModuleType)
        assert callable(function)
    assert "epochs" not in inspect.signature(blitznet.train).parameters
    assert list(inspect.signature(blitznet.train).parameters)[:2] == ["data", "val"]
    assert list(inspect.signature(blitznet.export).parameters)[:2] == ["model", "to"]


def test_without_torch_training_and_export_are_missing_extras() -> None:
    code = """
import blitznet
for call in (lambda: blitznet.train(data="a"), lambda: blitznet.export("blitznet300-lite")):
    try:
        call()
    except blitznet.MissingExtra as error:
        print(error)
"""
    assert python(code).splitlines() == [
        "`blitznet.train` needs `pip install 'blitznet[train]'`",
        "`blitznet.export` needs `pip install 'blitznet[train]'`",
    ]


def test_images_are_predicted_in_bulk(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 5)
    write_onnx(tmp_path / "small.onnx")
    source, model = str(tmp_path / "images"), str(tmp_path / "small.onnx")
    states: list[blitznet.BulkProgress] = []

    def predict() -> blitznet.BulkSummary:
        return blitznet.batch(
            source, tmp_path / "out", model=model, engine="onnxruntime", shard_size=2, progress=states.append
        )

    assert predict() == blitznet.BulkSummary(parts=3, images=5, errors=0, predicted=5)
    assert (states[-1].done, states[-1].predicted) == (5, 5)
    assert predict().predicted == 0
    words = ["batch", source, "--model", model, "--engine", "onnxruntime", "--shard-size", "2"]
    assert main([*words, "--out", str(tmp_path / "command")]) == 0
    by_command = {path.name: path.read_bytes() for path in parts(tmp_path / "command")}
    assert {path.name: path.read_bytes() for path in parts(tmp_path / "out")} == by_command


def test_bulk_prediction_has_the_defaults_of_the_command() -> None:
    parameters = inspect.signature(blitznet.batch).parameters
    defaults = {name: item.default for name, item in parameters.items() if name not in ("sources", "progress")}
    options = {item.name: item.default for item in dataclasses.fields(BatchPredict) if item.name != "sources"}
    assert defaults == options


def test_bulk_prediction_checks_its_options(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected an image, a folder, a list or a URL, got nothing"):
        blitznet.batch([], tmp_path / "out")
    with pytest.raises(UsageError, match="workers: expected 1 or more, got 0"):
        blitznet.batch(tmp_path, tmp_path / "out", workers=0)


def test_without_pyarrow_bulk_prediction_is_a_missing_extra() -> None:
    code = """
import sys
sys.modules["pyarrow"] = None
import blitznet
try:
    blitznet.batch("images")
except blitznet.MissingExtra as error:
    print(error)
"""
    assert python(code) == "`blitznet batch` needs `pip install 'blitznet[batch]'`"
