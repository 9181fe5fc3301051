from pathlib import Path

import numpy as np
import pytest

from blitznet.api import load
from blitznet.cli.calibrate import calibrated, search
from blitznet.cli.main import main
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.runtime.predictor import Predictor
from support.cli_datasets import TOY_SPEC, write_model, write_voc


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and a set."""
    monkeypatch.chdir(tmp_path)
    write_model()
    write_voc()
    return tmp_path


def test_a_copy_whose_scores_mean_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    said = capsys.readouterr().out
    spec = load("small-calibrated.onnx").spec
    assert not spec.score_calibration.is_identity
    assert spec.uncalibrated() == TOY_SPEC
    assert said.split("\n")[1].split()[3:5] == [
        f"{spec.score_calibration.temperature:g}",
        f"{spec.score_calibration.bias:g}",
    ]
    assert "pixels not background" in said
    assert "model: small-calibrated.onnx" in said
    assert load("small.onnx").spec == TOY_SPEC


def test_boxes_and_their_order_stay(place: Path) -> None:
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    before, after = load("small.onnx"), load("small-calibrated.onnx")
    sample = open_sources(("voc:voc@train",), TOY_SPEC.classes)[0][0]
    one, two = before(sample.image), after(sample.image)
    assert len(one)
    np.testing.assert_array_equal(one.boxes, two.boxes)
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_allclose(after.spec.score_calibration.apply(one.scores), two.scores, rtol=1e-5)


def test_errors_are_those_that_eval_tells(place: Path) -> None:
    sets = open_sources(("voc:voc@train",), TOY_SPEC.classes)
    found = search(load("small.onnx"), sets)
    assert found.boxes is not None
    assert found.pixels is not None
    for spec, expected in ((TOY_SPEC, "plain"), (calibrated(TOY_SPEC, found), "error")):
        engine = load("small.onnx").engine
        vars(engine)["_spec"] = spec
        total = evaluate(Predictor(engine), sets, EvalConfig(calibration=True)).total
        assert total.detection is not None
        assert total.segmentation is not None
        assert total.detection.calibration_error == pytest.approx(getattr(found.boxes, expected), abs=1e-4)
        assert total.segmentation.calibration_error == pytest.approx(getattr(found.pixels, expected))
    assert found.pixels.error <= found.pixels.plain


def test_a_calibrated_file_is_calibrated_anew(place: Path) -> None:
    sets = open_sources(("voc:voc@train",), TOY_SPEC.classes)
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    once, twice = search(load("small.onnx"), sets), search(load("small-calibrated.onnx"), sets)
    assert once == twice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["small.onnx", "--data", "voc:voc@train", "--out", "x.safetensors"],
            "expected a file that ends in .onnx, got x",
        ),
        (["small.pt2", "--data", "voc:voc@train"], "small.pt2"),
        (["small.onnx", "--data", "folder:plain"], "folder:plain"),
    ],
)
def test_misuse_is_one_line(place: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("blitznet: error: ")
    assert said in error
    assert not Path("small-calibrated.onnx").exists()
