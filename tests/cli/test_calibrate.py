from dataclasses import replace
from pathlib import Path

import pytest

from blitznet.api import load
from blitznet.cli.calibrate import search
from blitznet.cli.main import main
from blitznet.data.sources import open_sources
from blitznet.metrics.calibration import box_bins, calibration_error
from blitznet.metrics.evaluate import Options, evaluate
from blitznet.metrics.pairing import Reals, detections_of, join_detections, join_objects, objects_of
from blitznet.metrics.temperature import TEMPERATURES
from blitznet.runtime.predictor import Predictor
from cli.sets import TOY_SPEC, write_model, write_voc


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and a set."""
    monkeypatch.chdir(tmp_path)
    write_model()
    write_voc()
    return tmp_path


def test_a_copy_with_temperatures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "small.onnx", "--data", "voc:voc@train"]) == 0
    said = capsys.readouterr().out
    spec = load("small-calibrated.onnx").spec
    assert spec == replace(TOY_SPEC, temperature=spec.temperature, map_temperature=spec.map_temperature)
    assert f"temperature {spec.temperature:g}, of the class map {spec.map_temperature:g}\n" in said
    assert "boxes from 0.3" in said
    assert "pixels not background" in said
    assert load("small.onnx").spec == TOY_SPEC


def test_errors_are_those_that_eval_tells(place: Path) -> None:
    sets = open_sources(("voc:voc@train",), TOY_SPEC.classes)
    found = search(load("small.onnx"), sets)
    boxes, pixels = found["detection"], found["segmentation"]
    assert boxes is not None
    assert pixels is not None
    for temperature, wanted in ((1.0, "plain"), (boxes.temperature, "error")):
        engine = load("small.onnx").engine
        vars(engine)["_spec"] = replace(TOY_SPEC, temperature=temperature, map_temperature=temperature)
        total = evaluate(Predictor(engine), sets, Options(calibration=True)).total
        assert total.detection is not None
        assert total.segmentation is not None
        assert total.detection.calibration_error == pytest.approx(getattr(boxes, wanted))
        if wanted == "plain":
            assert total.segmentation.calibration_error == pytest.approx(pixels.plain)
    assert boxes.error <= boxes.plain
    assert pixels.error <= pixels.plain


def test_two_fold_is_each_half_at_the_others_temperature(place: Path) -> None:
    sets = open_sources(("voc:voc@train",), TOY_SPEC.classes)
    found = search(load("small.onnx"), sets)["detection"]
    samples = [sets[0][number] for number in range(len(sets[0]))]

    def bins_at(temperature: float, half: int) -> Reals:
        engine = load("small.onnx").engine
        vars(engine)["_spec"] = replace(TOY_SPEC, temperature=temperature)
        seen = [(sample, Predictor(engine)(sample.photo)) for sample in samples[half::2]]
        found = join_detections((k, detections_of(0, result, sample)) for k, (sample, result) in enumerate(seen))
        return box_bins(found, join_objects((k, objects_of(0, one)) for k, (one, _) in enumerate(seen)), "devkit")

    tables = [[bins_at(temperature, half) for temperature in TEMPERATURES] for half in (0, 1)]
    errors = [[calibration_error(bins) or 1.0 for bins in half] for half in tables]
    best = [half.index(min(half)) for half in errors]
    assert found is not None
    assert found.two_fold == pytest.approx(calibration_error(tables[0][best[1]] + tables[1][best[0]]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["small.onnx", "--data", "voc:voc@train", "--out", "x.safetensors"],
            "wanted a file that ends in .onnx, came x",
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
