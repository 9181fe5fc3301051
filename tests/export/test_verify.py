import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.api import WEIGHTS
from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import Outputs
from blitznet.core.spec import Precision
from blitznet.export.formats import export
from blitznet.export.onnx import export_onnx
from blitznet.export.verify import Check, Eager, Parity, compare, engine_for, verify
from blitznet.nets.model_files import load_model
from blitznet.nets.program_engine import ProgramEngine
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import OpenVinoEngine
from support.exported_models import BRIEF, small
from support.fake_engines import SPEC, FakeEngine, random_outputs

IMAGES = [ImageSource(path) for path in find_images()]
OUTPUTS = random_outputs()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "small.onnx"
    export_onnx(small(), SPEC, path)
    return path


def test_a_faithful_file_stays(exported: Path) -> None:
    parity = verify(exported, small(), SPEC, IMAGES)
    assert exported.is_file()
    assert [check.what for check in parity.checks] == [
        *(f"{name}, in deviations" for name in ("offsets", "logits", "class_map")),
        "sides of boxes, pixels",
        "scores",
        "share of boxes that have their like",
        "share of pixels of the same class",
    ]
    assert max(check.excess for check in parity.checks) < 1


def test_a_finished_file_is_compared_by_its_results(tmp_path: Path) -> None:
    export_onnx(small(), BRIEF, tmp_path / "a.onnx", nms=True)
    checks = verify(tmp_path / "a.onnx", small(), BRIEF, IMAGES, nms=True).checks
    assert [check.what for check in checks[:2]] == ["sides of boxes, pixels", "scores"]
    assert checks[0].value < 0.5
    net = small()
    with torch.no_grad():
        net.stem.weight += 0.5
    with pytest.raises(
        ModelError, match=r"a\.onnx: does not answer as the network does, sides of boxes, pixels: \S+, wanted"
    ):
        verify(tmp_path / "a.onnx", net, BRIEF, IMAGES, nms=True)


def test_a_file_of_another_network_is_deleted(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    net = small()
    with torch.no_grad():
        net.class_map.weight[0, 0, 0, 0] += 1
    with pytest.raises(
        ModelError,
        match=r"a\.onnx: does not answer as .*, class_map, in deviations: \S+, expected at most 0\.0001; the file was",
    ):
        verify(path, net, SPEC, IMAGES)
    assert not path.exists()


@pytest.mark.parametrize("forgive", [False, True])
def test_only_lower_precisions_are_forgiven(forgive: bool, exported: Path, tmp_path: Path) -> None:
    net, rounded = small(), replace(SPEC, precision="bfloat16")
    with torch.no_grad():
        net.class_map.weight += torch.randn_like(net.class_map.weight)
    floats = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"expected at most 0\.0001; the file was not kept$"):
        verify(floats, net, SPEC, IMAGES, forgive=forgive)
    export(small(), rounded, floats)
    if forgive:
        parity = verify(floats, net, rounded, IMAGES, forgive=True)
        assert parity.worst() is not None
    else:
        with pytest.raises(ModelError, match=r"the file was not kept, keep one with --allow-drop$"):
            verify(floats, net, rounded, IMAGES)
    assert floats.exists() == forgive


def test_a_file_with_another_contract_is_deleted(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"a\.onnx: the contract in the file is not the network's"):
        verify(path, small(), replace(SPEC, mean=(0.1, 0.1, 0.1)), IMAGES)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.onnx", "a.openvino", "a.pt2"])
def test_a_file_that_cannot_be_opened_is_deleted(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("hello")
    with pytest.raises(ModelError, match=name):
        verify(tmp_path / name, small(), SPEC, IMAGES)
    assert not (tmp_path / name).exists()


def test_bfloat16_is_checked_on_the_engine_that_computes_in_it(tmp_path: Path) -> None:
    spec = replace(SPEC, precision="bfloat16")
    export(small(), spec, tmp_path / "a.onnx")
    export(small(), spec, tmp_path / "a.pt2", "torch")
    assert isinstance(engine_for(tmp_path / "a.onnx", spec), OpenVinoEngine)
    engine = engine_for(tmp_path / "a.pt2", spec)
    assert isinstance(engine, ProgramEngine)
    raw = compare(Eager(small(), spec), engine, IMAGES[:1]).checks[0]
    assert raw.value > 1e-4
    assert raw.bound is None


def changed(name: str, amount: float) -> Outputs:
    """The outputs with one answer shifted in one place."""
    value = getattr(OUTPUTS, name).copy()
    value.reshape(-1)[5] += amount
    return replace(OUTPUTS, **{name: value})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (OUTPUTS, None),
        (changed("offsets", 1e-5), None),
        (changed("offsets", 1e-2), "offsets, in deviations: 0.0"),
        (changed("logits", 1.0), "logits, in deviations: 0.3"),
        (changed("class_map", float("nan")), "class_map, in deviations: inf, expected at most 0.0001"),
        (replace(OUTPUTS, segmentation_logits=None), "class_map, in deviations: inf"),
    ],
    ids=["same", "hardly", "offsets", "logits", "not a number", "missing"],
)
def test_the_worst_difference_is_named(other: Outputs, words: str | None) -> None:
    worst = compare(FakeEngine(OUTPUTS), FakeEngine(other), IMAGES[:1]).worst()
    assert worst is None if words is None else str(worst).startswith(words)


@pytest.mark.parametrize(
    ("checks", "words"),
    [
        ([Check("logits", 9e-5, 1e-4), Check("pixels", 0.4, 0.5), Check("share", 0.98, 0.97, least=True)], None),
        ([Check("logits", 2e-4, 1e-4), Check("pixels", 5.0, 0.5)], "pixels: 5, expected at most 0.5"),
        ([Check("logits", 5.0), Check("share", 0.96, 0.97, least=True)], "share: 0.96, expected at least 0.97"),
        ([Check("logits", np.inf, 1e-4), Check("pixels", 5.0, 0.5)], "logits: inf, expected at most 0.0001"),
        ([Check("share", np.nan, 0.97, least=True)], "share: nan, expected at least 0.97"),
    ],
)
def test_bounds(checks: list[Check], words: str | None) -> None:
    worst = Parity(tuple(checks)).worst()
    assert worst is None if words is None else str(worst) == words


@pytest.mark.parametrize(("precision", "least"), [("float32", 0.999), ("bfloat16", 0.99), ("int8", 0.98)])
def test_each_precision_has_its_bounds(precision: Precision, least: float) -> None:
    spec = replace(SPEC, precision=precision)
    bounds = [check.bound for check in compare(FakeEngine(OUTPUTS), FakeEngine(OUTPUTS, spec), IMAGES[:1]).checks]
    exact = precision == "float32"
    assert bounds == [*([1e-4] * 3 if exact else [None] * 3), *([0.5, 1e-3] if exact else [None, None]), 0.97, least]


def test_a_detection_that_one_of_them_lacks() -> None:
    logits = np.full_like(OUTPUTS.logits, 0)
    logits[..., 0] = 20
    none = replace(OUTPUTS, logits=logits)
    worst = compare(FakeEngine(none), FakeEngine(OUTPUTS), IMAGES[:1]).worst()
    assert worst is not None
    assert worst.value == np.inf


@pytest.mark.parametrize("name", ["blitznet300-lite", "blitznet416-lite"])
def test_the_packages_two_files_are_one_model(name: str) -> None:
    net, spec = load_model(WEIGHTS / f"{name}.safetensors")
    engine = OnnxEngine(WEIGHTS / f"{name}.onnx", threads=1)
    assert engine.spec == replace(spec, precision="int8")
    parity = compare(Eager(net, spec), engine, [ImageSource(path) for path in find_images()])
    assert parity.worst() is None, parity
