"""Files that an engine would believe: external data, zips, and tensors that do not fit the spec."""

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.errors import ModelError
from blitznet.core.model_content import (
    join_outputs,
    require_matching_tensors,
    require_plain_onnx,
    require_stored_parts,
)
from blitznet.core.outputs import NmsOutputs, Outputs
from support.fake_engines import ANCHORS, SPEC, write_onnx


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value="1")
    return tensor


EMPTY = helper.make_graph([], "inner", [], [])


def model_with(**parts: Any) -> onnx.ModelProto:
    graph = helper.make_graph(parts.get("nodes", []), "g", [], [], initializer=parts.get("initializer", []))
    graph.sparse_initializer.extend(parts.get("sparse", []))
    return helper.make_model(graph)


@pytest.mark.parametrize("location", ["*/_ORT_MEM_ADDR_/*", "../../etc/passwd", "weights.bin"])
@pytest.mark.parametrize("location_kind", ["initializer", "constant", "list of tensors", "sparse"])
def test_external_data_is_refused_wherever_it_is(tmp_path: Path, location: str, location_kind: str) -> None:
    tensor = external(location)
    by_place: dict[str, dict[str, Any]] = {
        "initializer": {"initializer": [tensor]},
        "constant": {"nodes": [helper.make_node("Constant", [], ["c"], value=tensor)]},
        "list of tensors": {"nodes": [helper.make_node("Mine", [], ["c"], values=[tensor, tensor])]},
        "sparse": {"sparse": [onnx.SparseTensorProto(values=tensor, dims=[4])]},
    }
    path = tmp_path / "a.onnx"
    path.write_bytes(model_with(**by_place[location_kind]).SerializeToString())
    with pytest.raises(
        ModelError, match=r"a\.onnx: expected an ONNX model of one graph with all weights inside, got one with external"
    ):
        require_plain_onnx(path)


def test_models_without_external_data_pass(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    require_plain_onnx(tmp_path / "a.onnx")
    model = model_with(initializer=[numpy_helper.from_array(np.zeros(4, np.float32), "location")])
    (tmp_path / "named.onnx").write_bytes(model.SerializeToString())
    require_plain_onnx(tmp_path / "named.onnx")


@pytest.mark.parametrize("content", [b"", b"location", b"\x3a\xff\xff\xff\xff\x0flocation", b"\x3f" * 20 + b"location"])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: expected an ONNX model, got another file"):
        require_plain_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("graph_kind", "message"),
    [
        ("branch", "a graph inside a node"),
        ("loop", "a graph inside a node"),
        ("list", "a graph inside a node"),
        ("function", "functions"),
        ("training", "a graph for training"),
    ],
)
def test_graphs_besides_the_network_are_refused(tmp_path: Path, graph_kind: str, message: str) -> None:
    nodes = {
        "branch": helper.make_node("If", ["x"], ["y"], then_branch=EMPTY, else_branch=EMPTY),
        "loop": helper.make_node("Loop", ["x"], ["y"], body=EMPTY),
        "list": helper.make_node("Mine", ["x"], ["y"], body=[EMPTY, EMPTY]),
    }
    model = model_with(nodes=[nodes[graph_kind]] if graph_kind in nodes else [])
    if graph_kind == "function":
        call = helper.make_node("Call", ["x"], ["y"], domain="mine")
        model.functions.append(
            helper.make_function("mine", "Call", ["x"], ["y"], [call], [helper.make_opsetid("mine", 1)])
        )
    if graph_kind == "training":
        model.training_info.add()
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=rf"a\.onnx: expected .* of one graph .*, got one with {message}"):
        require_plain_onnx(tmp_path / "a.onnx")


def varint(value: int) -> bytes:
    content = bytearray()
    while value >= 0x80:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])


def test_field_numbers_beyond_32_bits_are_refused(tmp_path: Path) -> None:
    """Parsers of the engines drop the upper bits: there this field is the graph, with its external data."""
    graph = model_with(initializer=[external("weights.bin")]).graph.SerializeToString()
    content = varint((7 << 3 | 2) + (1 << 32)) + varint(len(graph)) + graph
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: expected an ONNX model, got another file \(a field number is"):
        require_plain_onnx(tmp_path / "a.onnx")


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


def raw_arrays(batch: int = 2) -> dict[str, Any]:
    return {
        "offsets": np.zeros((batch, A, 4), np.float32),
        "logits": np.zeros((batch, A, 4), np.float32),
        "segmentation_logits": np.zeros((batch, 4, 16, 12), np.float32),
    }


def nms_arrays(batch: int = 2) -> dict[str, Any]:
    return {
        "boxes": np.zeros((batch, 5, 4), np.float32),
        "scores": np.zeros((batch, 5), np.float32),
        "labels": np.full((batch, 5), 2),
        "count": np.full(batch, 5),
        "class_map": np.full((batch, 64, 48), 3, np.uint8),
    }


@pytest.mark.parametrize("parts", [1, 2])
def test_outputs_of_several_runs_are_joined(parts: int) -> None:
    raw = join_outputs(SPEC, [raw_arrays(2 // parts)] * parts, batch=2, source="a.onnx")
    assert isinstance(raw, Outputs)
    assert raw.logits is not None
    assert raw.logits.shape == (2, A, 4)
    detections = join_outputs(SPEC, [nms_arrays(2 // parts)] * parts, batch=2, source="a.onnx")
    assert isinstance(detections, NmsOutputs)
    assert detections.count.tolist() == [5, 5]


def with_nan(shape: tuple[int, ...]) -> Any:
    array = np.zeros(shape, np.float32)
    array[(-1,) * len(shape)] = np.nan
    return array


@pytest.mark.parametrize(
    ("arrays", "changes", "message"),
    [
        (raw_arrays, {"offsets": None}, "expected the output 'offsets', got logits, segmentation_logits"),
        (raw_arrays, {"offsets": np.zeros((2, A - 1, 4), np.float32)}, "expected offsets of shape"),
        (raw_arrays, {"offsets": np.zeros((1, A, 4), np.float32)}, r"expected offsets of shape \(2, "),
        (raw_arrays, {"logits": np.zeros((2, A, 9), np.float32)}, "expected logits of shape"),
        (raw_arrays, {"logits": np.zeros((2, A, 4))}, "expected logits of float32, got float64"),
        (raw_arrays, {"logits": np.full((2, A, 4), "a")}, "expected logits of float32, got str"),
        (raw_arrays, {"logits": with_nan((2, A, 4))}, "expected finite numbers in logits, got infinity or NaN"),
        (raw_arrays, {"offsets": np.full((2, A, 4), np.inf, np.float32)}, "expected finite numbers in offsets"),
        (
            raw_arrays,
            {"segmentation_logits": np.zeros((2, 4, 0, 12), np.float32)},
            "expected numbers in segmentation_logits, got none",
        ),
        (nms_arrays, {"labels": np.full((2, 5), 3)}, "expected labels of 0 to 2 by its spec, got 3"),
        (nms_arrays, {"labels": np.full((2, 5), -1)}, "expected labels of 0 to 2 by its spec, got -1"),
        (nms_arrays, {"labels": np.zeros((2, 5), np.float32)}, "expected labels of int64 or int32, got float32"),
        (nms_arrays, {"labels": np.zeros((2, 4), np.int64)}, "expected boxes, scores and labels of equal number"),
        (nms_arrays, {"count": np.array([6, 0])}, "expected count of 0 to 5 by its spec, got 6"),
        (nms_arrays, {"boxes": with_nan((2, 5, 4))}, "expected finite numbers in boxes"),
        (nms_arrays, {"boxes": np.full((2, 5, 4), 1e30, np.float32)}, "expected boxes of 0 to 1 by its spec"),
        (nms_arrays, {"scores": np.full((2, 5), -7, np.float32)}, "expected scores of 0 to 1 by its spec, got -7"),
        (nms_arrays, {"class_map": np.full((2, 64, 48), 4, np.uint8)}, "expected class_map of 0 to 3 by its spec"),
        (nms_arrays, {"class_map": np.zeros((2, 64, 48), np.int64)}, "expected class_map of uint8, got int64"),
    ],
)
def test_impossible_outputs_are_refused(arrays: Any, changes: dict[str, Any], message: str) -> None:
    changed = {name: array for name, array in {**arrays(), **changes}.items() if array is not None}
    with pytest.raises(ModelError, match=f"^a.onnx: {message}"):
        join_outputs(SPEC, [changed], batch=2, source="a.onnx")


def test_runs_with_different_outputs_are_refused() -> None:
    coarser = {**raw_arrays(1), "segmentation_logits": np.zeros((1, 4, 8, 8), np.float32)}
    for parts in ([raw_arrays(1), coarser], [raw_arrays(1), {}]):
        with pytest.raises(ModelError, match=r"^a.onnx: expected outputs of one shape for all images, got several$"):
            join_outputs(SPEC, parts, batch=2, source="a.onnx")
