import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from blitznet.core.errors import MissingExtra, UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec
from blitznet.export.onnx import export_onnx
from blitznet.nets.deploy import Deployed
from blitznet.nets.postprocess import EndToEnd, nms_output_names
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.predictor import Predictor
from support.exported_models import BRIEF, DETECTION, SEGMENTATION, small
from support.fake_engines import SPEC


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "deep" / "small.onnx"
    export_onnx(small(), SPEC, path)
    return path


def test_answers_as_torch_does_for_any_batch(exported: Path) -> None:
    engine = OnnxEngine(exported, threads=1)
    rng = np.random.default_rng(0)
    for batch in (1, 2, 3):
        images = rng.integers(0, 256, (batch, *SPEC.size, 3), np.uint8)
        expected, actual = TorchEngine(small(), SPEC).run(images), engine.run(images)
        for name in ("offsets", "logits", "class_map"):
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-4, atol=1e-4)


def test_the_file_says_what_it_is(exported: Path) -> None:
    model = onnx.load(exported, load_external_data=False)
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert Spec.from_json(notes["blitznet"]) == SPEC
    assert notes["class_names"] == "cat, dog, person"
    assert notes["precision"] == "float32"
    assert notes["license"] == "Apache-2.0"
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["offsets", "logits", "class_map"]
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    assert str(Path(__file__).parents[2]) not in model.SerializeToString().decode("latin-1")
    assert [path.name for path in exported.parent.iterdir()] == ["small.onnx"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "finished.onnx"
    export_onnx(small(), BRIEF, path, nms=True)
    return path


def test_with_the_post_processing_inside(finished: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *BRIEF.size, 3), np.uint8)
    module = EndToEnd(Deployed(small(), BRIEF), BRIEF).eval()
    for batch in (3, 1):
        actual = OnnxEngine(finished, threads=1).run(images[:batch])
        assert isinstance(actual, NmsOutputs)
        with torch.inference_mode():
            expected = [answer.numpy() for answer in module(torch.from_numpy(images[:batch]))]
        for name, value in zip(nms_output_names(BRIEF), expected, strict=True):
            assert getattr(actual, name).dtype == value.dtype
            np.testing.assert_allclose(getattr(actual, name), value, atol=1e-4)


def test_equal_scores_keep_their_order(tmp_path: Path) -> None:
    net = small(DETECTION)
    spec = replace(DETECTION, postprocess=BRIEF.postprocess)
    with torch.no_grad():
        net.logits.weight.zero_()  # every anchor of a shape is as sure as the others
        for parameter in net.logits.parameters():
            parameter.mul_(8)
    export_onnx(net, spec, tmp_path / "a.onnx", nms=True)
    images = np.random.default_rng(0).integers(0, 256, (1, *spec.size, 3), np.uint8)
    expected, actual = (
        Predictor(TorchEngine(net, spec))(images[0]),
        Predictor(OnnxEngine(tmp_path / "a.onnx"))(images[0]),
    )
    assert len(expected)
    np.testing.assert_allclose(actual.boxes, expected.boxes, atol=1e-2)
    np.testing.assert_array_equal(actual.labels, expected.labels)


@pytest.mark.parametrize(
    ("spec", "names"), [(DETECTION, ["offsets", "logits"]), (SEGMENTATION, ["class_map"])], ids=["boxes", "map"]
)
def test_one_task_alone(tmp_path: Path, spec: Spec, names: list[str]) -> None:
    export_onnx(small(spec), spec, tmp_path / "a.onnx")
    outputs = OnnxEngine(tmp_path / "a.onnx", threads=1).run(np.zeros((1, *SPEC.size, 3), np.uint8))
    assert [name for name in ("offsets", "logits", "class_map") if getattr(outputs, name) is not None] == names


def test_kernels_that_float16_holds_are_stored_in_it(tmp_path: Path) -> None:
    rounded = small()
    kernel = rounded.stem.weight
    kernel.data = kernel.data.half().float()
    kernel.data[0, 0, 0, 0] = 2.0**-20  # below float16's normal numbers, and still held
    export_onnx(rounded, SPEC, tmp_path / "a.onnx")
    stored = [
        t.dims for t in onnx.load(tmp_path / "a.onnx").graph.initializer if t.data_type == onnx.TensorProto.FLOAT16
    ]
    assert stored == [list(kernel.shape)], "the other kernels are not rounded"
    images = np.random.default_rng(0).integers(0, 256, (1, *SPEC.size, 3), np.uint8)
    expected, actual = TorchEngine(rounded, SPEC).run(images), OnnxEngine(tmp_path / "a.onnx", threads=1).run(images)
    assert isinstance(actual, Outputs)
    np.testing.assert_allclose(actual.logits, expected.logits, rtol=1e-4, atol=1e-4)  # type: ignore[arg-type] # are there


def test_no_boxes_to_finish(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="small: finds no boxes, so there are none to suppress"):
        export_onnx(small(SEGMENTATION), SEGMENTATION, tmp_path / "a.onnx", nms=True)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/a\.onnx: cannot be written \(.*\)"):
        export_onnx(small(DETECTION), DETECTION, tmp_path / "file" / "a.onnx")


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"export to ONNX needs `pip install 'blitznet\[train\]'`"):
        export_onnx(small(), SPEC, tmp_path / "a.onnx")
