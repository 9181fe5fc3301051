"""DeepLabTeacher: preprocessing, the cut graph and the grid of its logits."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.errors import MissingExtra, ModelError
from blitznet.core.image import ImageSource
from blitznet.runtime import deeplab
from blitznet.runtime.deeplab import DeepLabTeacher
from support.ssdlite_original import SHARED


def write_network(path: Path, channels: int = 21, *, size: int = 513, stride: int = 16) -> None:
    """A network of one strided convolution whose channel 1 is the red value at each grid point, then an argmax."""
    kernel = np.zeros((channels, 3, 1, 1), np.float32)
    kernel[1, 0] = 1
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["logits"], strides=[stride, stride]),
        helper.make_node("ArgMax", ["logits"], ["out"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("out", TensorProto.INT64, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def without_openvino(**_: Any) -> None:
    raise MissingExtra("x", "openvino")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_grid_points_are_pixels_of_the_resized_image(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_network(tmp_path / "toy.onnx")
    if engine == "onnxruntime":
        monkeypatch.setattr(deeplab, "shared_core", without_openvino)
    pixels = np.zeros((513, 257, 3), np.uint8)
    pixels[..., 0] = np.arange(513)[:, None] // 4 + np.arange(257) // 4
    labels = DeepLabTeacher(tmp_path / "toy.onnx", threads=1)(ImageSource(pixels))
    assert labels.logits.shape == (21, 33, 33)
    for row, column in ((0, 0), (7, 3), (32, 16)):
        y, x = labels.first[0] + row * labels.step[0], labels.first[1] + column * labels.step[1]
        value = pixels[int(y * 513), int(x * 257), 0]
        assert labels.logits[1, row, column] == pytest.approx((float(value) - 128) / 128, abs=0.01)
    assert labels.logits[1, 0, 20] == 0  # padding


def test_other_files_are_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "other.onnx", channels=5)
    with pytest.raises(ModelError, match="expected DeepLabV3 with 21 channels, got another network"):
        DeepLabTeacher(tmp_path / "other.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\x00broken")
    with pytest.raises(ModelError, match="got another file"):
        DeepLabTeacher(tmp_path / "broken.onnx")
    with pytest.raises(ModelError, match="does not exist"):
        DeepLabTeacher(tmp_path / "gone.onnx")


def test_networks_that_only_begin_like_it_are_refused(tmp_path: Path) -> None:
    """Scalars among the constants, a convolution without a kernel, another input and other logits are one line each."""
    write_network(tmp_path / "scalar.onnx", channels=5)
    model = onnx.load(tmp_path / "scalar.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "scalar"))
    onnx.save(model, tmp_path / "scalar.onnx")
    write_network(tmp_path / "bare.onnx")
    model = onnx.load(tmp_path / "bare.onnx")
    del model.graph.node[0].input[1:]
    onnx.save(model, tmp_path / "bare.onnx")
    for name in ("scalar.onnx", "bare.onnx"):
        with pytest.raises(ModelError, match="expected DeepLabV3 with 21 channels, got another network"):
            DeepLabTeacher(tmp_path / name)
    write_network(tmp_path / "other.onnx", size=257)
    with pytest.raises(ModelError, match=r"other\.onnx: expected DeepLabV3, but it cannot be run"):
        DeepLabTeacher(tmp_path / "other.onnx", threads=1)(ImageSource(np.zeros((9, 9, 3), np.uint8)))
    write_network(tmp_path / "finer.onnx", stride=8)
    with pytest.raises(
        ModelError, match=r"finer\.onnx: expected logits of shape \(1, 21, 33, 33\), got \(1, 21, 65, 65\)"
    ):
        DeepLabTeacher(tmp_path / "finer.onnx", threads=1)(ImageSource(np.zeros((9, 9, 3), np.uint8)))


@pytest.mark.slow
def test_class_map_equals_the_reference() -> None:
    file, images = SHARED / "peers" / "deeplabv3_mnv2_voc_513.onnx", SHARED / "data/VOCdevkit/VOC2012/JPEGImages"
    if not file.is_file():
        pytest.skip(f"{file} is missing")
    from benchmarks.competitors.networks import SEGMENTER, CompetitorPredictor, Setup

    teacher = DeepLabTeacher(file)
    reference = CompetitorPredictor(SEGMENTER, Setup("onnxruntime", "float32", 1), file.parent)
    for path in sorted(images.glob("2007_*.jpg"))[:5]:
        expected = reference(ImageSource(path).read())
        labels = teacher(ImageSource(path))
        height, width = expected.shape
        rows = np.rint(((np.arange(height) + 0.5) / height - labels.first[0]) / labels.step[0]).astype(int).clip(0, 32)
        columns = np.rint(((np.arange(width) + 0.5) / width - labels.first[1]) / labels.step[1]).astype(int).clip(0, 32)
        nearest = labels.logits.argmax(0)[np.ix_(rows, columns)]
        assert (nearest == expected).mean() > 0.9
