from pathlib import Path

import numpy as np
import pytest

from blitznet.api import load
from blitznet.cli.calibrate import fit_predictor
from blitznet.cli.main import main
from blitznet.data.sources import open_sources
from blitznet.metrics.calibration.fit import calibrate_spec
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.runtime.predictor import Predictor
from support.cli_datasets import TOY_SPEC, write_model, write_voc


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and a dataset."""
    monkeypatch.chdir(tmp_path)
    write_model()
    write_voc()
    return tmp_path


def test_calibrated_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    output = capsys.readouterr().out
    spec = load("small-calibrated.onnx").spec
    assert not spec.score_calibration.is_identity
    assert spec.uncalibrated() == TOY_SPEC
    assert output.split("\n")[1].split()[4:6] == [
        f"{spec.score_calibration.temperature:g}",
        f"{spec.score_calibration.bias:g}",
    ]
    assert "pixels, not background" in output
    assert "model: small-calibrated.onnx" in output
    assert load("small.onnx").spec == TOY_SPEC


def test_boxes_and_their_order_do_not_change(folder: Path) -> None:
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    before, after = load("small.onnx", min_score=None), load("small-calibrated.onnx", min_score=None)
    sample = open_sources(("voc:voc@train",), TOY_SPEC.classes)[0][0]
    raw, calibrated = before(sample.image), after(sample.image)
    assert len(raw)
    np.testing.assert_array_equal(raw.boxes, calibrated.boxes)
    np.testing.assert_array_equal(raw.labels, calibrated.labels)
    np.testing.assert_allclose(after.spec.score_calibration.apply(raw.scores), calibrated.scores, rtol=1e-5)


def test_errors_equal_those_of_eval(folder: Path) -> None:
    datasets = open_sources(("voc:voc@train",), TOY_SPEC.classes)
    fit = fit_predictor(load("small.onnx"), datasets)
    assert fit.boxes is not None
    assert fit.pixels is not None
    for spec, field in ((TOY_SPEC, "ece_before"), (calibrate_spec(TOY_SPEC, fit), "ece_after")):
        engine = load("small.onnx").engine
        vars(engine)["_spec"] = spec
        total = evaluate(Predictor(engine), datasets, EvalConfig(calibration=True)).total
        assert total.detection.calibration_error == pytest.approx(getattr(fit.boxes, field), abs=1e-4)
        assert total.segmentation.calibration_error == pytest.approx(getattr(fit.pixels, field))
    assert fit.pixels.ece_after <= fit.pixels.ece_before


def test_fit_of_a_calibrated_model_is_the_same(folder: Path) -> None:
    datasets = open_sources(("voc:voc@train",), TOY_SPEC.classes)
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    assert fit_predictor(load("small.onnx"), datasets) == fit_predictor(load("small-calibrated.onnx"), datasets)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["small.onnx", "--data", "voc:voc@train", "--out", "x.safetensors"],
            "expected a file that ends in .onnx, got x",
        ),
        (["small.pt2", "--data", "voc:voc@train"], "small.pt2"),
        (["small.onnx", "--data", "folder:plain"], "folder:plain"),
    ],
)
def test_errors_are_one_line(folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("blitznet: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not Path("small-calibrated.onnx").exists()
