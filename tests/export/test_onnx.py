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
from blitznet.export.formats import export
from blitznet.nets.deploy import Deployed
from blitznet.nets.postprocess import EndToEnd, nms_output_names
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.onnx_engine import OnnxEngine
from blitznet.runtime.predictor import Predictor
from support.exported_models import DETECTION_SPEC, NMS_SPEC, SEGMENTATION_SPEC, small_network
from support.fake_engines import SPEC


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "deep" / "small.onnx"
    export(small_network(), SPEC, path)
    return path


def test_outputs_are_those_of_torch_for_any_batch_size(exported: Path) -> None:
    engine = OnnxEngine(exported, threads=1)
    rng = np.random.default_rng(0)
    for batch in (1, 2, 3):
        images = rng.integers(0, 256, (batch, *SPEC.size, 3), np.uint8)
        expected, actual = TorchEngine(small_network(), SPEC).run(images), engine.run(images)
        for name in ("offsets", "logits", "segmentation_logits"):
            np.testing.assert_allclose(getattr(actual, name), getattr(expected, name), rtol=1e-4, atol=1e-4)


def test_metadata_and_names_of_the_file(exported: Path) -> None:
    model = onnx.load(exported, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert Spec.from_json(metadata["blitznet"]) == SPEC
    assert metadata["class_names"] == "cat, dog, person"
    assert metadata["precision"] == "float32"
    assert metadata["license"] == "Apache-2.0"
    assert [value.name for value in model.graph.input] == ["images"]
    assert [value.name for value in model.graph.output] == ["offsets", "logits", "segmentation_logits"]
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    assert str(Path(__file__).parents[2]) not in model.SerializeToString().decode("latin-1")
    assert [path.name for path in exported.parent.iterdir()] == ["small.onnx"]


@pytest.fixture(scope="module")
def exported_with_nms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "nms.onnx"
    export(small_network(), NMS_SPEC, path, nms=True)
    return path


def test_outputs_with_nms_are_those_of_torch(exported_with_nms: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *NMS_SPEC.size, 3), np.uint8)
    module = EndToEnd(Deployed(small_network(), NMS_SPEC), NMS_SPEC).eval()
    for batch in (3, 1):
        actual = OnnxEngine(exported_with_nms, threads=1).run(images[:batch])
        assert isinstance(actual, NmsOutputs)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in module(torch.from_numpy(images[:batch]))]
        for name, value in zip(nms_output_names(NMS_SPEC), expected, strict=True):
            assert getattr(actual, name).dtype == value.dtype
            np.testing.assert_allclose(getattr(actual, name), value, atol=1e-4)


def test_equal_scores_keep_the_order_of_the_anchors(tmp_path: Path) -> None:
    net = small_network(DETECTION_SPEC)
    spec = replace(DETECTION_SPEC, postprocess=NMS_SPEC.postprocess)
    with torch.no_grad():
        net.logits.weight.zero_()  # all anchors of a shape have the same score
        for parameter in net.logits.parameters():
            parameter.mul_(8)
    export(net, spec, tmp_path / "a.onnx", nms=True)
    images = np.random.default_rng(0).integers(0, 256, (1, *spec.size, 3), np.uint8)
    expected, actual = (
        Predictor(TorchEngine(net, spec))(images[0]),
        Predictor(OnnxEngine(tmp_path / "a.onnx"))(images[0]),
    )
    assert len(expected)
    np.testing.assert_allclose(actual.boxes, expected.boxes, atol=1e-2)
    np.testing.assert_array_equal(actual.labels, expected.labels)


@pytest.mark.parametrize(
    ("spec", "names"), [(DETECTION_SPEC, ["offsets", "logits"]), (SEGMENTATION_SPEC, ["segmentation_logits"])]
)
def test_a_single_task_has_its_outputs_only(tmp_path: Path, spec: Spec, names: list[str]) -> None:
    export(small_network(spec), spec, tmp_path / "a.onnx")
    outputs = OnnxEngine(tmp_path / "a.onnx", threads=1).run(np.zeros((1, *SPEC.size, 3), np.uint8))
    assert [
        name for name in ("offsets", "logits", "segmentation_logits") if getattr(outputs, name) is not None
    ] == names


def test_kernels_that_are_exact_in_float16_are_stored_so(tmp_path: Path) -> None:
    rounded = small_network()
    kernel = rounded.stem.weight
    kernel.data = kernel.data.half().float()
    kernel.data[0, 0, 0, 0] = 2.0**-20  # a subnormal number of float16
    export(rounded, SPEC, tmp_path / "a.onnx")
    half_shapes = [
        t.dims for t in onnx.load(tmp_path / "a.onnx").graph.initializer if t.data_type == onnx.TensorProto.FLOAT16
    ]
    assert half_shapes == [list(kernel.shape)], "the other kernels are not rounded"
    images = np.random.default_rng(0).integers(0, 256, (1, *SPEC.size, 3), np.uint8)
    expected, actual = TorchEngine(rounded, SPEC).run(images), OnnxEngine(tmp_path / "a.onnx", threads=1).run(images)
    assert isinstance(actual, Outputs)
    np.testing.assert_allclose(actual.logits, expected.logits, rtol=1e-4, atol=1e-4)  # type: ignore[arg-type] # are there


def test_nms_needs_the_detection_task(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nms: expected a model with the detection task, got small; remove --nms"):
        export(small_network(SEGMENTATION_SPEC), SEGMENTATION_SPEC, tmp_path / "a.onnx", nms=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/a\.onnx: cannot be written \(.*\)"):
        export(small_network(DETECTION_SPEC), DETECTION_SPEC, tmp_path / "file" / "a.onnx")


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtra, match=r"export to ONNX needs `pip install 'blitznet\[train\]'`"):
        export(small_network(), SPEC, tmp_path / "a.onnx")
