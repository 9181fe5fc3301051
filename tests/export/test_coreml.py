"""Packages for Core ML. The slow tests run coremltools, which the extra `coreml` installs; nothing here predicts."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from blitznet.cli.main import main
from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.model_paths import find_weights
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.spec import Spec
from blitznet.export.coreml import check_coreml, write_coreml
from blitznet.export.formats import require_exportable
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model
from blitznet.workflows import export_file
from support.exported_models import DETECTION_SPEC, SEGMENTATION_SPEC, small_network
from support.fake_engines import SPEC


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(MissingExtra, match=r"^export to Core ML needs `pip install 'blitznet\[coreml\]'`$"):
        write_coreml(small_network(), SPEC, tmp_path / "a.mlpackage")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nms": True}, "--nms: expected raw outputs for coreml, got NMS inside; remove --nms"),
        ({"static": True}, "--static, --input: expected --to onnx or openvino with them, got coreml; remove them"),
        ({"input_type": "float32"}, "--static, --input: expected --to onnx or openvino with them, got coreml"),
    ],
)
def test_options_that_core_ml_cannot_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_exportable(SPEC, "coreml", **{"nms": False, "calibrated": False, **options})


def test_a_file_of_the_user_in_the_package_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run/best.mlpackage").mkdir(parents=True)
    Path("run/best.safetensors").touch()
    Path("run/best.mlpackage/notes.txt").write_text("mine")
    assert main(["export", "run", "--to", "coreml"]) == 2
    assert "run/best.mlpackage/notes.txt: expected a new file, or one that blitznet wrote" in capsys.readouterr().err
    assert [path.name for path in Path("run/best.mlpackage").iterdir()] == ["notes.txt"]


def require_coremltools() -> None:
    pytest.importorskip("coremltools", reason="coremltools is not installed (extra coreml)")


def network(name: str) -> tuple[nn.Module, Spec]:
    if name == "packaged":
        return load_model(find_weights(DEFAULT))
    torch.manual_seed(0)
    return build(get_spec(DEFAULT)).eval(), get_spec(DEFAULT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packaged", "untrained"])
def test_names_shapes_and_types_are_those_of_the_network(name: str, tmp_path: Path) -> None:
    require_coremltools()
    net, spec = network(name)
    write_coreml(net, spec, tmp_path / "a.mlpackage")
    check_coreml(tmp_path / "a.mlpackage", net, spec)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    data = "a.mlpackage/Data/com.apple.CoreML"
    assert files == {"a.mlpackage/Manifest.json", f"{data}/model.mlmodel", f"{data}/weights/weight.bin"}
    (tmp_path / "new").touch()
    assert {(tmp_path / file).stat().st_mode for file in files} == {(tmp_path / "new").stat().st_mode}
    assert b"site-packages" not in (tmp_path / data / "model.mlmodel").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("spec", [DETECTION_SPEC, SEGMENTATION_SPEC], ids=["boxes", "class map"])
def test_the_check_notices_other_tensors(spec: Spec, tmp_path: Path) -> None:
    require_coremltools()
    path = tmp_path / "a.mlpackage"
    write_coreml(small_network(spec), spec, path)
    check_coreml(path, small_network(spec), spec)
    with pytest.raises(ModelError, match="expected the network's spec in the package, got another"):
        check_coreml(path, small_network(), SPEC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blitznet.export.coreml.read_spec", lambda *_, **__: SPEC)
        with pytest.raises(ModelError, match=r"expected the tensors images: RGB image \(64, 48\); offsets: FLOAT32"):
            check_coreml(path, small_network(), SPEC)
    (path / "Data/com.apple.CoreML/model.mlmodel").write_bytes(b"text")
    with pytest.raises(ModelError, match="expected a package of Core ML, but it cannot be opened"):
        check_coreml(path, small_network(spec), spec)


def test_a_file_of_the_user_with_the_name_of_the_package_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for name in ("best.safetensors", "best.mlpackage"):
        Path("run", name).write_text("mine")
    assert main(["export", "run", "--to", "coreml"]) == 2
    assert "run/best.mlpackage: expected a new file, or one that blitznet wrote" in capsys.readouterr().err
    with pytest.raises(UsageError, match="expected a new file, or one that blitznet wrote"):
        export_file("run", to="coreml")
    assert Path("run/best.mlpackage").read_text() == "mine"


def test_a_failed_export_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coremltools", None)
    monkeypatch.setattr("blitznet.export.exporter.load_model", lambda _: (small_network(), SPEC))
    (tmp_path / "best.safetensors").touch()
    assert main(["export", str(tmp_path / "best.safetensors"), "--to", "coreml"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.slow
def test_the_command_replaces_its_own_package_and_states_what_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_coremltools()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("blitznet.export.exporter.load_model", lambda _: (small_network(), SPEC))
    Path("run").mkdir()
    Path("run/best.safetensors").touch()
    for _ in range(2):
        assert main(["export", "run", "--to", "coreml", "--spec-json"]) == 0
        output = capsys.readouterr()
        assert output.out.splitlines() == [
            "outputs: not compared, Core ML predicts on Apple's systems only; names, shapes and types are checked",
            "model: run/best.mlpackage (0.0 MB)",
        ]
        assert not output.err
    assert {path.name for path in Path("run").iterdir()} == {"best.mlpackage", "best.json", "best.safetensors"}
    content = json.loads(Path("run/best.json").read_text())
    assert content["input"] == {"name": "images", "type": "image RGB", "shape": [1, 3, *SPEC.size]}
