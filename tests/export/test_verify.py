import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_model, find_weights
from blitznet.core.outputs import Outputs
from blitznet.core.spec import Precision
from blitznet.export.formats import export
from blitznet.export.verify import EagerEngine, ParityCheck, ParityReport, compare, engine_for, verify
from blitznet.nets.model_files import load_model
from blitznet.nets.program_engine import ProgramEngine
from blitznet.runtime.image_paths import find_images
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.openvino_engine import OpenVinoEngine
from support.exported_models import NMS_SPEC, small_network
from support.fake_engines import SPEC, FakeEngine, random_outputs

IMAGES = [ImageSource(path) for path in find_images()]
OUTPUTS = random_outputs()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "small.onnx"
    export(small_network(), SPEC, path)
    return path


def test_verify_keeps_an_exact_file(exported: Path) -> None:
    report = verify(exported, small_network(), SPEC, IMAGES)
    assert exported.is_file()
    assert [check.name for check in report.checks] == [
        "offsets: largest difference / standard deviation",
        "logits: largest difference / standard deviation",
        "segmentation_logits: largest difference / standard deviation",
        "boxes: largest difference in pixels",
        "scores: largest difference",
        "detections: matched fraction",
        "class map: fraction of equal pixels",
    ]
    assert max(check.excess for check in report.checks) < 1


@pytest.mark.slow
def test_verify_compares_results_of_a_file_with_nms(tmp_path: Path) -> None:
    export(small_network(), NMS_SPEC, tmp_path / "a.onnx", nms=True)
    checks = verify(tmp_path / "a.onnx", small_network(), NMS_SPEC, IMAGES, nms=True).checks
    assert [check.name for check in checks[:2]] == ["boxes: largest difference in pixels", "scores: largest difference"]
    assert checks[0].value < 0.5
    net = small_network()
    with torch.no_grad():
        net.stem.weight += 0.5
    message = (
        r"a\.onnx: outputs differ from the network's; boxes: largest difference in pixels: expected at most 0\.5, got"
    )
    with pytest.raises(ModelError, match=message):
        verify(tmp_path / "a.onnx", net, NMS_SPEC, IMAGES, nms=True)


def test_verify_deletes_the_file_of_another_network(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    net = small_network()
    with torch.no_grad():
        net.segmentation.weight[0, 0, 0, 0] += 1
    message = r"a\.onnx: outputs differ .*; segmentation_logits: .*: expected at most 0\.0001, got \S+; the file was"
    with pytest.raises(ModelError, match=message):
        verify(path, net, SPEC, IMAGES)
    assert not path.exists()


@pytest.mark.parametrize("strict", [True, False])
def test_only_lower_precisions_can_be_verified_leniently(strict: bool, exported: Path, tmp_path: Path) -> None:
    net, bfloat16 = small_network(), replace(SPEC, precision="bfloat16")
    with torch.no_grad():
        net.segmentation.weight += torch.randn_like(net.segmentation.weight)
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"expected at most 0\.0001, got \S+; the file was deleted$"):
        verify(path, net, SPEC, IMAGES, strict=strict)
    export(small_network(), bfloat16, path)
    if strict:
        with pytest.raises(ModelError, match=r"the file was deleted; keep such a file with --allow-accuracy-drop$"):
            verify(path, net, bfloat16, IMAGES)
    else:
        report = verify(path, net, bfloat16, IMAGES, strict=False)
        assert report.worst_failure() is not None
    assert path.exists() == (not strict)


def test_verify_deletes_a_file_with_another_spec(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"a\.onnx: expected the network's spec in the file, got another"):
        verify(path, small_network(), replace(SPEC, mean=(0.1, 0.1, 0.1)), IMAGES)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.onnx", "a.openvino", "a.pt2"])
def test_verify_deletes_a_file_that_cannot_be_opened(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("hello")
    with pytest.raises(ModelError, match=name):
        verify(tmp_path / name, small_network(), SPEC, IMAGES)
    assert not (tmp_path / name).exists()


def test_engine_for_bfloat16_computes_in_it(tmp_path: Path) -> None:
    spec = replace(SPEC, precision="bfloat16")
    export(small_network(), spec, tmp_path / "a.onnx")
    export(small_network(), spec, tmp_path / "a.pt2", "torch")
    assert isinstance(engine_for(tmp_path / "a.onnx", spec), OpenVinoEngine)
    engine = engine_for(tmp_path / "a.pt2", spec)
    assert isinstance(engine, ProgramEngine)
    raw = compare(EagerEngine(small_network(), spec), engine, IMAGES[:1]).checks[0]
    assert raw.value > 1e-4
    assert raw.limit is None


def changed(name: str, amount: float) -> Outputs:
    """The outputs with one value changed."""
    value = getattr(OUTPUTS, name).copy()
    value.reshape(-1)[5] += amount
    return replace(OUTPUTS, **{name: value})


@pytest.mark.parametrize(
    ("outputs", "name", "value"),
    [
        (OUTPUTS, None, 0),
        (changed("offsets", 1e-5), None, 0),
        (changed("offsets", 1e-2), "offsets", 0.01),
        (changed("logits", 1.0), "logits", 0.33),
        (changed("segmentation_logits", float("nan")), "segmentation_logits", np.inf),
        (replace(OUTPUTS, segmentation_logits=None), "segmentation_logits", np.inf),
    ],
    ids=["equal", "tiny", "offsets", "logits", "not a number", "missing"],
)
def test_worst_failure_of_compared_engines(outputs: Outputs, name: str | None, value: float) -> None:
    worst = compare(FakeEngine(OUTPUTS), FakeEngine(outputs), IMAGES[:1]).worst_failure()
    if name is None:
        assert worst is None
    else:
        assert worst is not None
        assert worst.name.startswith(f"{name}: ")
        assert worst.value == pytest.approx(value, rel=0.1)


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        (
            [
                ParityCheck("logits", 9e-5, 1e-4),
                ParityCheck("pixels", 0.4, 0.5),
                ParityCheck("fraction", 0.98, 0.97, is_minimum=True),
            ],
            None,
        ),
        ([ParityCheck("logits", 2e-4, 1e-4), ParityCheck("pixels", 5.0, 0.5)], "pixels: expected at most 0.5, got 5"),
        (
            [ParityCheck("logits", 5.0), ParityCheck("fraction", 0.96, 0.97, is_minimum=True)],
            "fraction: expected at least 0.97, got 0.96",
        ),
        (
            [ParityCheck("logits", np.inf, 1e-4), ParityCheck("pixels", 5.0, 0.5)],
            "logits: expected at most 0.0001, got inf",
        ),
        ([ParityCheck("fraction", np.nan, 0.97, is_minimum=True)], "fraction: expected at least 0.97, got nan"),
    ],
)
def test_worst_failure_has_the_largest_excess(checks: list[ParityCheck], message: str | None) -> None:
    worst = ParityReport(tuple(checks)).worst_failure()
    assert worst is None if message is None else str(worst) == message


@pytest.mark.parametrize(("precision", "minimum"), [("float32", 0.999), ("bfloat16", 0.99), ("int8", 0.98)])
def test_limits_depend_on_the_precision(precision: Precision, minimum: float) -> None:
    spec = replace(SPEC, precision=precision)
    limits = [check.limit for check in compare(FakeEngine(OUTPUTS), FakeEngine(OUTPUTS, spec), IMAGES[:1]).checks]
    exact = precision == "float32"
    assert limits == [*([1e-4] * 3 if exact else [None] * 3), *([0.5, 1e-3] if exact else [None, None]), 0.97, minimum]


def test_a_detection_that_only_one_engine_has() -> None:
    logits = np.full_like(OUTPUTS.logits, 0)
    logits[..., 0] = 20
    nothing = replace(OUTPUTS, logits=logits)
    worst = compare(FakeEngine(nothing), FakeEngine(OUTPUTS), IMAGES[:1]).worst_failure()
    assert worst is not None
    assert worst.value == np.inf


@pytest.mark.parametrize("name", ["blitznet300-lite", "blitznet416-lite"])
def test_both_files_of_a_packaged_model_agree(name: str) -> None:
    net, spec = load_model(find_weights(name))
    engine = OnnxEngine(find_model(name), threads=1)
    assert engine.spec == replace(spec, precision="int8")
    report = compare(EagerEngine(net, spec), engine, IMAGES)
    assert report.worst_failure() is None, report
