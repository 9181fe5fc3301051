"""Files that an engine would believe: external data, zips, and tensors that do not fit the spec."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.errors import ModelError
from blitznet.core.model_content import require_matching_tensors, require_no_external_data, require_stored_parts
from support.fake_engines import ANCHORS, SPEC, write_onnx


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="1")
    return tensor


def subgraph(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], initializer=[tensor])


def model_with(**parts: Any) -> onnx.ModelProto:
    graph = helper.make_graph(parts.get("nodes", []), "g", [], [], initializer=parts.get("initializer", []))
    graph.sparse_initializer.extend(parts.get("sparse", []))
    return helper.make_model(graph)


@pytest.mark.parametrize("location", ["*/_ORT_MEM_ADDR_/*", "../../etc/passwd", "weights.bin"])
@pytest.mark.parametrize("location_kind", ["initializer", "constant", "branch", "list of tensors", "sparse"])
def test_external_data_is_refused_wherever_it_is(tmp_path: Path, location: str, location_kind: str) -> None:
    tensor = external(location)
    by_place: dict[str, dict[str, Any]] = {
        "initializer": {"initializer": [tensor]},
        "constant": {"nodes": [helper.make_node("Constant", [], ["c"], value=tensor)]},
        "branch": {"nodes": [helper.make_node("If", ["x"], ["y"], then_branch=subgraph(tensor))]},
        "list of tensors": {"nodes": [helper.make_node("Mine", [], ["c"], values=[tensor, tensor])]},
        "sparse": {"sparse": [onnx.SparseTensorProto(values=tensor, dims=[4])]},
    }
    path = tmp_path / "a.onnx"
    path.write_bytes(model_with(**by_place[location_kind]).SerializeToString())
    with pytest.raises(
        ModelError, match=r"a\.onnx: expected an ONNX model with all weights inside, got one with external"
    ):
        require_no_external_data(path)


def test_models_without_external_data_pass(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    require_no_external_data(tmp_path / "a.onnx")
    model = model_with(initializer=[numpy_helper.from_array(np.zeros(4, np.float32), "location")])
    (tmp_path / "named.onnx").write_bytes(model.SerializeToString())
    require_no_external_data(tmp_path / "named.onnx")


@pytest.mark.parametrize("content", [b"", b"location", b"\x3a\xff\xff\xff\xff\x0flocation", b"\x3f" * 20 + b"location"])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: expected an ONNX model, got another file"):
        require_no_external_data(tmp_path / "a.onnx")


def test_compressed_and_repeated_parts_are_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.zip", "w", ZIP_DEFLATED) as file:
        file.writestr("extra/blitznet", "x" * 10_000_000)
    with ZipFile(tmp_path / "a.zip") as file, pytest.raises(BadZipFile, match="its parts are compressed"):
        require_stored_parts(file)
    with ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("a", "2")
    with ZipFile(tmp_path / "b.zip") as file, pytest.raises(BadZipFile, match="two of its parts have one name"):
        require_stored_parts(file)


A = len(ANCHORS)
RAW = {"offsets": (None, A, 4), "logits": (None, A, 4), "segmentation_logits": (None, 4, 16, 12)}
NMS = {
    "boxes": (None, 200, 4),
    "scores": (None, 200),
    "labels": (None, 200),
    "count": (None,),
    "class_map": (1, 64, 48),
}
INPUT = {"images": (None, 64, 48, 3)}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (INPUT, RAW, None),
        ({"images": (1, 64, 48, 3)}, NMS, None),
        ({"image": (None, 64, 48, 3)}, RAW, "expected one input 'images', got image"),
        ({}, RAW, "expected one input 'images', got none"),
        (
            {"images": (None, 3, 64, 48)},
            RAW,
            r"expected images of shape \(any, 64, 48, 3\) by its spec, got \(any, 3, 64",
        ),
        (INPUT, {**RAW, "offsets": (None, A + 1, 4)}, "expected offsets of shape"),
        (INPUT, {**RAW, "logits": (None, A, 5)}, "expected logits of shape"),
        (INPUT, {**RAW, "segmentation_logits": (None, 5, 16, 12)}, "expected segmentation_logits of shape"),
        (INPUT, {"logits": RAW["logits"]}, "expected the output 'offsets', got logits"),
        (INPUT, {**NMS, "class_map": (1, 64, 64)}, "expected class_map of shape"),
    ],
)
def test_tensors_must_be_those_of_the_spec(inputs: Any, outputs: Any, message: str | None) -> None:
    if message is None:
        require_matching_tensors(SPEC, inputs, outputs, input_name="images", source="a.onnx")
        return
    with pytest.raises(ModelError, match=f"^a.onnx: {message}"):
        require_matching_tensors(SPEC, inputs, outputs, input_name="images", source="a.onnx")
