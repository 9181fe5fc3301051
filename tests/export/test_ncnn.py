"""Files for ncnn. The slow tests run pnnx and ncnn, which the extra `ncnn` installs; the others have a fake pnnx."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from blitznet.cli.main import main
from blitznet.core.errors import MissingExtra, ModelError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_weights
from blitznet.core.models import DEFAULT, get_spec
from blitznet.core.outputs import Outputs
from blitznet.core.spec import Spec
from blitznet.export.exporter import ExportOptions, export_model
from blitznet.export.formats import require_exportable
from blitznet.export.ncnn import NcnnEngine, write_ncnn
from blitznet.export.verify import EagerEngine, verify
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import load_model
from blitznet.runtime.image_paths import find_images
from support import tiny_models
from support.exported_models import DETECTION_SPEC, SEGMENTATION_SPEC, small_network
from support.fake_engines import SPEC
from support.small_networks import fpn_spec

GRAPH = """7767517
3 4
Input                    in0                      0 1 in0
Convolution              conv_0                   1 1 in0 out1 0=8
{kind}                   out0                     1 2 out1 out0 out2 0=1 -23300=2,1,2
"""
"""a graph of pnnx whose last layer has a variable kind; layers have names of blobs"""


@pytest.fixture
def fake_pnnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs a pnnx that runs a shell script."""

    def install(script: str) -> None:
        path = tmp_path / "pnnx.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setitem(sys.modules, "pnnx", SimpleNamespace(EXEC_PATH=str(path)))

    return install


def writes(kind: str) -> str:
    """A script that writes a graph with a layer of this kind."""
    return f"cat > net.ncnn.param <<'END'\n{GRAPH.format(kind=kind)}END\necho weights > net.ncnn.bin"


def test_blobs_have_the_names_of_the_other_formats(fake_pnnx: Callable[[str], None], tmp_path: Path) -> None:
    fake_pnnx(writes("Split"))
    write_ncnn(small_network(), SPEC, tmp_path / "a.param")
    lines = (tmp_path / "a.param").read_text().splitlines()
    assert lines[:2] == ["7767517", "3 4"]
    assert [line.split() for line in lines[2:]] == [
        ["Input", "in0", "0", "1", "images"],
        ["Convolution", "conv_0", "1", "1", "images", "logits", "0=8"],
        ["Split", "out0", "1", "2", "logits", "offsets", "segmentation_logits", "0=1", "-23300=2,1,2"],
    ]
    assert (tmp_path / "a.bin").read_text() == "weights\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (writes("Tensor.slice"), r"a\.param: expected operations that ncnn has, got Tensor\.slice; use --to onnx"),
        ("echo; echo no memory >&2; exit 3", r"a\.param: expected a network that pnnx can convert, got 'no memory'"),
        ("exit 3", r"a\.param: expected a network that pnnx can convert, got 'exit code 3'"),
    ],
)
def test_a_failed_conversion_is_one_line_and_no_file(
    script: str, message: str, fake_pnnx: Callable[[str], None], tmp_path: Path
) -> None:
    fake_pnnx(script)
    with pytest.raises(ModelError, match=message):
        write_ncnn(small_network(), SPEC, tmp_path / "a.param")
    assert [path.name for path in tmp_path.iterdir()] == ["pnnx.sh"]


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("pnnx", lambda path: write_ncnn(small_network(), SPEC, path)),
        ("ncnn", lambda path: NcnnEngine(path, SPEC)),
    ],
    ids=["pnnx", "ncnn"],
)
def test_a_missing_extra_is_one_line(
    module: str, call: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"^export to ncnn needs `pip install 'blitznet\[ncnn\]'`$"):
        call(tmp_path / "a.param")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nms": True}, "--nms: expected raw outputs for ncnn, got NMS inside; remove --nms"),
        ({"static": True}, "--static, --input: expected --to onnx or openvino with them, got ncnn; remove them"),
        ({"input_type": "float32"}, "--static, --input: expected --to onnx or openvino with them, got ncnn"),
    ],
)
def test_options_that_ncnn_cannot_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_exportable(SPEC, "ncnn", **{"nms": False, "calibrated": False, **options})


@pytest.mark.parametrize("name", ["best.param", "best.bin", "best.json"])
def test_a_file_of_the_user_is_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/best.safetensors").touch()
    Path("run", name).write_text("mine")
    assert main(["export", "run", "--to", "ncnn"]) == 2
    assert f"run/{name}: expected a new file, or one that blitznet wrote" in capsys.readouterr().err
    assert {path.name for path in Path("run").iterdir()} == {"best.safetensors", name}
    assert Path("run", name).read_text() == "mine"


def require_ncnn() -> None:
    for module in ("pnnx", "ncnn"):
        pytest.importorskip(module, reason=f"{module} is not installed (extra ncnn)")


def network(name: str) -> tuple[nn.Module, Spec]:
    if name == "packaged":
        return load_model(find_weights(DEFAULT))
    torch.manual_seed(0)
    specs = {"lite": tiny_models.specs()[1], "untrained": get_spec(DEFAULT)}
    return build(specs[name]).eval(), specs[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["packaged", "untrained", "lite"])
def test_ncnn_computes_what_the_network_computes(name: str, tmp_path: Path) -> None:
    require_ncnn()
    net, spec = network(name)
    write_ncnn(net, spec, tmp_path / "a.param")
    report = verify(tmp_path / "a.param", net, spec, [ImageSource(path) for path in find_images()])
    assert len(report.checks) == 7
    assert report.worst_failure() is None


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, DETECTION_SPEC, SEGMENTATION_SPEC], ids=["both", "boxes", "class map"])
def test_each_task_and_images_of_a_batch(spec: Spec, tmp_path: Path) -> None:
    require_ncnn()
    net = small_network(spec)
    write_ncnn(net, spec, tmp_path / "a.param")
    images = np.random.default_rng(0).integers(0, 256, (3, *spec.size, 3), np.uint8)
    expected, actual = EagerEngine(net, spec).run(images), NcnnEngine(tmp_path / "a.param", spec).run(images)
    assert isinstance(expected, Outputs)
    for name in expected.__slots__:
        if getattr(expected, name) is None:
            assert getattr(actual, name) is None
        else:
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), atol=1e-4)


@pytest.mark.slow
def test_verification_notices_other_weights(tmp_path: Path) -> None:
    require_ncnn()
    write_ncnn(small_network(), SPEC, tmp_path / "a.param")
    with pytest.raises(ModelError, match=r"a\.param: outputs differ from the network's"):
        verify(tmp_path / "a.param", small_network(seed=1), SPEC, [ImageSource(path) for path in find_images()])


@pytest.mark.slow
def test_a_network_with_operations_that_ncnn_lacks_is_refused(tmp_path: Path) -> None:
    require_ncnn()
    with pytest.raises(ModelError, match=r"a\.param: expected operations that ncnn has, got Tensor\.slice"):
        write_ncnn(build(tiny_models.PAPER).eval(), tiny_models.PAPER, tmp_path / "a.param")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_broken_files_are_a_model_error(tmp_path: Path) -> None:
    require_ncnn()
    (tmp_path / "a.param").write_text("7767517\n1 1\nTensor.slice a 0 1 b\n")
    (tmp_path / "a.bin").touch()
    with pytest.raises(ModelError, match="expected a graph with weights for ncnn, got files that it cannot open"):
        NcnnEngine(tmp_path / "a.param", SPEC)


@pytest.mark.slow
def test_the_command_writes_both_files_and_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_ncnn()
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second replaces the files of the first
        assert main(["export", DEFAULT, "--to", "ncnn"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(f"model: {DEFAULT}.param (16.1 MB)   compared on 3 images")
    assert {path.name for path in tmp_path.iterdir()} == {f"{DEFAULT}{end}" for end in (".param", ".bin", ".json")}
    content = json.loads(Path(f"{DEFAULT}.json").read_text())
    assert content["input"] == {"name": "images", "type": "float32", "shape": [3, 300, 300]}
    assert content["outputs"] == ["offsets", "logits", "segmentation_logits"]
    assert content["classes"] == list(get_spec(DEFAULT).classes)


@pytest.mark.slow
def test_nothing_is_written_where_verification_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_ncnn()
    spec = fpn_spec()
    monkeypatch.setattr("blitznet.export.exporter.load_model", lambda _: (build(spec).eval(), spec))
    monkeypatch.setattr("blitznet.export.verify.MAX_RAW_DIFFERENCE", 1e-12)
    weights = tmp_path / "a.safetensors"
    weights.touch()
    with pytest.raises(ModelError, match=f"^{tmp_path}/a.param: outputs differ from the network's"):
        export_model(ExportOptions(model=str(weights), to="ncnn"))
    assert list(tmp_path.iterdir()) == [weights]
