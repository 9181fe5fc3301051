"""A small spec, an engine without a network, and the same as an ONNX file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.models import blitznet300_lite
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import AnchorLayout, Spec

SPEC = replace(
    blitznet300_lite(),
    name="small",
    classes=("cat", "dog", "person"),
    size=(64, 48),
    anchors=AnchorLayout(strides=(16, 32), min_scale=0.2, second_scale=0.4, max_scale=0.8),
)
ANCHORS = generate_anchors(SPEC.anchors, feature_map_sizes(SPEC.anchors, SPEC.size))
MAP = (16, 12)


class FakeEngine:
    """Returns the same outputs for every batch, and records the batches."""

    name = "fake"

    def __init__(self, outputs: Outputs | NmsOutputs, spec: Spec = SPEC) -> None:
        self.spec = spec
        self.outputs = outputs
        self.batches: list[NDArray[np.uint8]] = []

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        self.batches.append(images)
        return self.outputs


def random_outputs(batch: int = 1, *, seed: int = 0, spread: float = 3.0) -> Outputs:
    """Outputs of a network with random but confident logits."""
    rng = np.random.default_rng(seed)
    count = len(ANCHORS)
    return Outputs(
        offsets=rng.normal(0, 1, (batch, count, 4)).astype(np.float32),
        logits=rng.normal(0, spread, (batch, count, SPEC.num_channels)).astype(np.float32),
        segmentation_logits=rng.normal(0, spread, (batch, SPEC.num_channels, *MAP)).astype(np.float32),
    )


def write_onnx(path: Path, *, spec: Spec | None = SPEC, text: str | None = None, seed: int = 0) -> Outputs:
    """A model file that returns `random_outputs` of one image; the mean of the pixels is added to the offsets.

    text: the spec's JSON in the metadata. Default: that of `spec`, or no spec for None.
    """
    outputs = random_outputs(seed=seed)
    names = {"offsets": outputs.offsets, "logits": outputs.logits, "segmentation_logits": outputs.segmentation_logits}
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=1),
        helper.make_node("Reshape", ["mean", "column"], ["flat"]),
        helper.make_node("Mul", ["flat", "zero"], ["zeros"]),
        helper.make_node("Reshape", ["zeros", "square"], ["zero_map"]),
        helper.make_node("Add", ["flat", "offsets_"], ["offsets"]),
        helper.make_node("Add", ["zeros", "logits_"], ["logits"]),
        helper.make_node("Add", ["zero_map", "segmentation_logits_"], ["segmentation_logits"]),
    ]
    constants: dict[str, NDArray[np.int64] | Floats] = {
        "axes": np.array([1, 2, 3]),
        "column": np.array([-1, 1, 1]),
        "square": np.array([-1, 1, 1, 1]),
        "zero": np.zeros(1, np.float32),
        **{f"{name}_": value for name, value in names.items() if value is not None},
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", *SPEC.size, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", *value.shape[1:]])
            for name, value in names.items()
            if value is not None
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = text if text is not None else spec.to_json() if spec is not None else None
    if metadata is not None:
        model.metadata_props.add(key="blitznet", value=metadata)
    onnx.save(model, path)
    return outputs
