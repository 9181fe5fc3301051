"""Training, validation and export from Python."""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

import blitznet
from blitznet.core.errors import UsageError
from blitznet.train.recipes import finetune_config
from blitznet.workflows import _train_config
from support import tiny_models
from support.training_runs import toy_sets
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
