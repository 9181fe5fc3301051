from pathlib import Path

import pytest
from PIL import Image as Pillow

from blitznet.cli.export import Export, run
from blitznet.cli.main import main
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.spec import Spec
from blitznet.export.verify import ParityCheck, ParityReport
from support import synthetic_data
from support.cli_datasets import TOY_SPEC, write_model, write_voc
from support.exported_models import small_network
from support.fake_engines import SPEC


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run; every model file contains the small network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blitznet.export.exporter.load_model", lambda path: (small_network(), SPEC))
    Path("run").mkdir()
    Path("run/best.safetensors").touch()
    return tmp_path


def test_export_writes_and_verifies_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=3)
    assert main(["export", "run", "--verify-images", text, "voc/JPEGImages/toy_0000.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "compared", "with", "network", "measured", "allowed"]
    assert [line.split("  ")[0] for line in lines[1:8]] == [
        "offsets: largest difference / standard deviation",
        "logits: largest difference / standard deviation",
        "segmentation_logits: largest difference / standard deviation",
        "boxes: largest difference in pixels",
        "scores: largest difference",
        "detections: matched fraction",
        "class map: fraction of equal pixels",
    ]
    assert [line.split()[-2:] for line in lines[4:8]] == [
        ["<=", "0.5"],
        ["<=", "0.001"],
        [">=", "0.97"],
        [">=", "0.999"],
    ]
    assert lines[8].startswith("model: run/best.onnx (0.0 MB)")
    assert lines[8].endswith("compared on 4 images")
    assert main(["predict", "--model", "run/best.onnx"]) == 0


def test_options_reach_export_and_verify(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: list[object] = []

    def export(
        net: object, spec: Spec, path: Path, to: str, *, nms: bool, calibration_images: list[RGBArray], **_: object
    ) -> None:
        arguments.extend([spec.precision, spec.size, to, nms, len(calibration_images), calibration_images[0].shape])
        path.write_bytes(b"model")

    def verify(
        path: Path, net: object, spec: Spec, images: list[ImageSource], *, nms: bool, strict: bool, **_: object
    ) -> ParityReport:
        arguments.extend([path.suffix, len(images), nms, strict])
        return ParityReport((ParityCheck("fraction", 0.5, 0.4, is_minimum=True),))

    monkeypatch.setattr("blitznet.export.exporter.export", export)
    monkeypatch.setattr("blitznet.export.exporter.verify", verify)
    Path("shots").mkdir()
    for index in range(2):
        Pillow.new("RGB", (90, 70)).save(f"shots/{index}.png")
    words = ["--to", "openvino", "--precision", "int8", "--calibration-data", "shots", "--nms", "--imgsz", "64", "80"]
    assert main(["export", "run", *words]) == 0
    path = "run/best-int8-64x80-nms.openvino"
    assert arguments == ["int8", (64, 80), "openvino", True, 2, (64, 80, 3), ".openvino", 2, True, True]
    assert Path(path).read_bytes() == b"model"
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0].split() == ["fraction", "0.5000", ">=", "0.4"]
    assert lines[1:] == [
        "accuracy: not measured, add labeled datasets with --eval-data",
        f"model: {path} (0.0 MB)   compared on 2 images",
    ]


def test_int8_evaluation_sets_must_have_the_models_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=2)
    words = ["export", "run", "--precision", "int8", "--calibration-data", text]
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("blitznet: error: voc:voc@train: ")


def test_int8_accuracy_is_compared_with_float32(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from blitznet.export.accuracy import AccuracyChange, EngineScores

    def accuracy_change(*_: object) -> AccuracyChange:
        before, after = EngineScores({"mIoU": 0.5}, 6.0), EngineScores({"mIoU": 0.48}, 3.0)
        return AccuracyChange(before, after, num_images=12)

    monkeypatch.setattr("blitznet.export.exporter.load_model", lambda path: (small_network(), TOY_SPEC))
    monkeypatch.setattr("blitznet.export.exporter.accuracy_change", accuracy_change)
    text = write_voc(count=3)
    words = ["export", "run", "--precision", "int8", "--calibration-data", text, "--eval-data", text]
    assert main([*words, "--allow-accuracy-drop"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-4:-1] == [
        "on 12 images float32 int8 change".split(),
        "mIoU, percent 50.0 48.0 -2.0".split(),
        "network, ms 6.0 3.0 x 0.50".split(),
    ]
    Path("run/best-int8.onnx").unlink()
    assert main(words) == 2
    assert not Path("run/best-int8.onnx").exists()


def test_a_file_that_differs_from_the_network_is_deleted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_another(net: object, spec: object, path: Path, *_: object, **__: object) -> None:
        write_model(str(path), spec=SPEC)

    monkeypatch.setattr("blitznet.export.exporter.export", export_another)
    assert main(["export", "run/best.safetensors", "--out", "a.onnx"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("blitznet: error: a.onnx: outputs differ from the network's; ")
    assert error.endswith("the file was deleted\n")
    assert not Path("a.onnx").exists()
    Path("a.onnx").write_bytes(b"in use")
    assert main(["export", "run/best.safetensors", "--out", "a.onnx"]) == 2
    assert Path("a.onnx").read_bytes() == b"in use"
    monkeypatch.setattr("blitznet.export.exporter.verify", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(Export(model="run/best.safetensors", out=Path("a.onnx"), overwrite=True))
    assert Path("a.onnx").read_bytes() == b"in use"
    assert not [*Path().glob(".a*")]


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.safetensors"], "gone.safetensors: "),
        (["voc"], "voc: expected best.safetensors or last.safetensors in this folder, got neither"),
        (["ssd512"], "ssd512: the package has no weights of this model"),
        (["small.onnx"], "small.onnx: expected a .safetensors file or a run folder, got '.onnx'"),
        (["run", "--out", "a.pt"], "--out: expected a file that ends in .onnx, got a.pt"),
        (["run", "--to", "torch", "--out", "a.onnx"], "--out: expected a file that ends in .pt2, got a.onnx"),
        (["run", "--imgsz", "1", "2", "3"], "--imgsz: expected one or two sizes in pixels such as 300 or 480 640"),
        (["run", "--imgsz", "320", "8"], "--imgsz: expected 32 pixels or more, got 320 8"),
        (["run", "--precision", "int8"], "--calibration-data: expected images for int8, got none"),
        (["run", "--eval-data", "voc:voc@val"], "--eval-data: expected --precision int8 with it, got float32; remove"),
        (["run", "--allow-accuracy-drop"], "--allow-accuracy-drop: expected --precision bfloat16 or int8 with it, got"),
        (
            ["run", "--to", "coreml", "--verify-images", "a.jpg"],
            "--verify-images: expected none for coreml, whose outputs",
        ),
        (["run", "--out", "small.onnx/a.onnx"], "small.onnx: expected a writable output folder, got"),
        (["run", "--verify-images", "gone.jpg"], "gone.jpg: expected an image, a folder or a glob, got"),
        (["run", "--verify-images", "voc:gone@train"], "voc:gone@train: "),
        (["run", "--verify-images", "coco:none@train"], "none/annotations/instances_train.json: expected images"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(spec=TOY_SPEC)
    Path("voc").mkdir()
    synthetic_data.write_coco(Path("none"), [])
    assert main(["export", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"blitznet: error: {message}")
    assert error.count("\n") == 1


def test_the_spec_beside_a_file_belongs_to_it(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files appear together: a failure leaves both as they were."""
    words = ["export", "run", "--spec-json", "--out", "a.onnx"]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert set(before) == {"a.onnx", "a.json"}
    monkeypatch.setattr("blitznet.export.exporter._spec_json", _fail)
    assert main([*words, "--static"]) == 2
    assert capsys.readouterr().err == "blitznet: error: a.json: cannot be written (no space)\n"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def _fail(*_: object, **__: object) -> None:
    raise OSError(28, "no space")
