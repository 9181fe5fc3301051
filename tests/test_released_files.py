"""Model files and run folders of every released version are read, with the outputs that the version computed."""

import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blitznet.api import load, open_engine
from blitznet.core.errors import UsageError
from blitznet.core.model_paths import find_weights
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import VERSION
from blitznet.export.formats import export
from blitznet.export.rewrite import rewrite
from blitznet.nets.model_files import load_model
from blitznet.train.loop import train
from support.released_files import FOLDER, STEPS, images, register, released_spec, run_config, write_set

ROOT = Path(__file__).parents[1]
VERSIONS = sorted(path.name.removesuffix(".tar.xz") for path in FOLDER.glob("*.tar.xz"))
MAX_BYTES = 100_000
"""of all archives together"""
RESUMABLE = ("0.2.0",)
"""versions whose runs the present code resumes"""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A version, with its files in the working folder."""
    register()
    monkeypatch.chdir(tmp_path)
    name: str = request.param
    with tarfile.open(FOLDER / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return name


def run(path: str) -> Outputs:
    outputs = open_engine(path, engine="torch" if path.startswith("run") else "onnxruntime", threads=1).run(images())
    assert isinstance(outputs, Outputs)
    assert outputs.segmentation_logits is not None
    assert outputs.segmentation_logits.shape[:2] == (2, 4)
    return outputs


def test_every_released_version_has_an_archive() -> None:
    released = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[-2:] == VERSIONS[1::-1]
    assert sum(path.stat().st_size for path in FOLDER.glob("*.tar.xz")) <= MAX_BYTES


@pytest.mark.parametrize(("path", "tolerance"), [("model.onnx", 1e-3), ("run", 1e-3)])
def test_model_files_have_the_outputs_of_their_version(version: str, path: str, tolerance: float) -> None:
    # kernels are stored as float16 in the .onnx file, and another onnxruntime may add in another order
    outputs, stored = run(path), np.load("outputs.npz")
    for name in ("offsets", "logits"):
        np.testing.assert_allclose(getattr(outputs, name), stored[name], atol=tolerance)
    assert np.ptp(stored["logits"]) > 0.1
    first, second = (run(file).segmentation_logits for file in ("model.onnx", "run"))
    np.testing.assert_allclose(first, second, atol=tolerance)


def test_files_with_nms_inside(version: str) -> None:
    engine = open_engine("model-nms.onnx", engine="onnxruntime", threads=1)
    outputs = engine.run(images())
    assert isinstance(outputs, NmsOutputs)
    results = load("model.onnx", engine="onnxruntime", threads=1, min_score=None), load("model-nms.onnx", threads=1)
    first, second = (predictor(images()[0], min_score=0.3).scores for predictor in results)
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_specs_are_upgraded(version: str) -> None:
    expected = released_spec()
    for path in ("model.onnx", "model-nms.onnx", "run/last.safetensors"):
        spec = open_engine(path, engine="torch" if path.startswith("run") else "onnxruntime", threads=1).spec
        assert (spec.classes, spec.size, spec.anchors) == (expected.classes, expected.size, expected.anchors)
        assert spec.network == expected.network
        assert json.loads(spec.to_json())["version"] == VERSION


def test_files_can_be_rewritten_and_exported(version: str) -> None:
    net, spec = load_model(find_weights("run"))
    for old, new in (("model.onnx", "new.onnx"), ("run/last.safetensors", "new.safetensors")):
        rewrite(Path(old), replace(spec, provenance="rewritten"), Path(new))
        assert open_engine(new, threads=1, engine="auto").spec.provenance == "rewritten"
    export(net, spec, Path("exported.onnx"))
    np.testing.assert_allclose(run("exported.onnx").logits, np.load("outputs.npz")["logits"], atol=1e-3)


def test_runs_are_resumed_or_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)
    config = replace(run_config(write_set()), steps=STEPS + 2)
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    if version not in RESUMABLE:
        with pytest.raises(UsageError, match=r"^run: expected a run with the same options, got another: .*; choose an"):
            train(config)
        assert {path: path.read_bytes() for path in Path("run").iterdir()} == before
        return
    train(config)
    steps = [json.loads(line)["step"] for line in Path("run/log.jsonl").read_text().splitlines() if "loss" in line]
    assert steps == list(range(1, STEPS + 3))
    old = {line for line in before[Path("run/log.jsonl")].decode().splitlines() if "loss" in line}
    assert old <= set(Path("run/log.jsonl").read_text().splitlines())


def test_a_run_initializes_another(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)
    config = replace(run_config(write_set()), model="run", init="model", steps=1, out=Path("tuned"))
    _, spec = load_model(train(config))
    assert spec.network == released_spec().network
