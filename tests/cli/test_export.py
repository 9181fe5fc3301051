from pathlib import Path

import pytest
from PIL import Image as Pillow

from blitznet.cli.export import Export, run
from blitznet.cli.main import main
from blitznet.core.arrays import RGBArray
from blitznet.core.image import ImageSource
from blitznet.core.spec import Spec
from blitznet.export.verify import Check, Parity
from support import synthetic_data
from support.cli_datasets import TOY_SPEC, write_model, write_voc
from support.exported_models import small
from support.fake_engines import SPEC


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run in it, of which every model is the small one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blitznet.nets.model_files.load_model", lambda path: (small(), SPEC))
    Path("run").mkdir()
    Path("run/best.safetensors").touch()
    return tmp_path


def test_a_run_becomes_one_file_that_answers_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=3)
    assert main(["export", "run", "--verify", text, "voc/JPEGImages/toy_0000.png"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["file", "against", "network", "measured", "allowed"]
    assert [line.split("  ")[0] for line in said[1:8]] == [
        *(f"{name}, in deviations" for name in ("offsets", "logits", "class_map")),
        "sides of boxes, pixels",
        "scores",
        "share of boxes that have their like",
        "share of pixels of the same class",
    ]
    assert [line.split()[-2:] for line in said[4:8]] == [
        ["<=", "0.5"],
        ["<=", "0.001"],
        [">=", "0.97"],
        [">=", "0.999"],
    ]
    assert said[8].startswith("model: run/best.onnx (0.0 MB)")
    assert said[8].endswith("compared on 4 images")
    assert main(["predict", "--model", "run/best.onnx"]) == 0


def test_every_wish_at_once(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def export(net: object, spec: Spec, path: Path, to: str, *, nms: bool, images: list[RGBArray]) -> None:
        seen.extend([spec.precision, spec.size, to, nms, len(images), images[0].shape])
        path.write_bytes(b"model")

    def verify(
        path: Path, net: object, spec: Spec, image_sources: list[ImageSource], *, nms: bool, forgive: bool
    ) -> Parity:
        seen.extend([path.suffix, len(image_sources), nms, forgive])
        return Parity((Check("share", 0.5, 0.4, least=True),))

    monkeypatch.setattr("blitznet.export.formats.export", export)
    monkeypatch.setattr("blitznet.export.verify.verify", verify)
    Path("shots").mkdir()
    for number in range(2):
        Pillow.new("RGB", (90, 70)).save(f"shots/{number}.png")
    words = ["--to", "openvino", "--precision", "int8", "--calibrate", "shots", "--nms", "--size", "80x64"]
    assert main(["export", "run", *words]) == 0
    made = "run/best-int8-80x64-nms.openvino"
    assert seen == ["int8", (64, 80), "openvino", True, 2, (64, 80, 3), ".openvino", 2, True, False]
    assert Path(made).read_bytes() == b"model"
    said = capsys.readouterr().out.splitlines()[1:]
    assert said[0].split() == ["share", "0.5000", ">=", "0.4"]
    assert said[1:] == [
        "accuracy: not measured, name labelled sets with --accuracy",
        f"model: {made} (0.0 MB)   compared on 2 images",
    ]


def test_sets_that_int8_is_scored_on_have_the_models_classes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=2)
    words = ["export", "run", "--precision", "int8", "--calibrate", text]
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("blitznet: error: voc:voc@train: none of its classes")


def test_a_file_that_answers_otherwise_is_not_left_behind(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(net: object, spec: object, path: Path, *_: object, **__: object) -> None:
        write_model(str(path), spec=SPEC)

    monkeypatch.setattr("blitznet.export.formats.export", another)
    assert main(["export", "run/best.safetensors", "--out", "a.onnx"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("blitznet: error: a.onnx: does not answer as the network does")
    assert said.endswith("the file was not kept\n")
    assert not Path("a.onnx").exists()
    Path("a.onnx").write_bytes(b"in use")
    assert main(["export", "run/best.safetensors", "--out", "a.onnx"]) == 2
    assert Path("a.onnx").read_bytes() == b"in use"
    monkeypatch.setattr("blitznet.export.verify.verify", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(Export(model="run/best.safetensors", out=Path("a.onnx")))
    assert Path("a.onnx").read_bytes() == b"in use"
    assert not [*Path().glob(".a*")]


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone.safetensors"], "gone.safetensors: there is no such model file"),
        (["voc"], "voc: there is neither best.safetensors nor last.safetensors in this folder"),
        (["ssd512"], "'ssd512' has no trained weights in the package; give a .safetensors file or a run folder"),
        (["small.onnx"], "small.onnx: expected a .safetensors file or a run folder, got '.onnx'"),
        (["run", "--out", "a.pt"], "--out: expected a file that ends in .onnx, got a.pt"),
        (["run", "--to", "torch", "--out", "a.onnx"], "--out: expected a file that ends in .pt2, got a.onnx"),
        (["run", "--size", "320"], "--size: expected WxH such as 320x240, got '320'"),
        (["run", "--size", "320x8"], "--size: expected 32 pixels or more a side, got 320x8"),
        (["run", "--precision", "int8"], "--calibrate: expected images to measure ranges on, got none"),
        (["run", "--out", "small.onnx/a.onnx"], "small.onnx: expected a folder to write to, but"),
        (["run", "--verify", "gone.jpg"], "gone.jpg: there is no such file or folder"),
        (["run", "--verify", "voc:gone@train"], "voc:gone@train: there is no folder gone"),
        (["run", "--verify", "coco:none@train"], "coco:none@train: there is no image in this set"),
    ],
)
def test_mistakes(words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(spec=TOY_SPEC)
    Path("voc").mkdir()
    synthetic_data.write_coco(Path("none"), [])
    assert main(["export", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"blitznet: error: {message}")
    assert said.count("\n") == 1
