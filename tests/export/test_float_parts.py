"""Ranges of logits: those far below the largest are clipped."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from blitznet.export.activations import TensorStats, smallest_best_logits
from blitznet.export.float_parts import LOGIT_MARGIN, clip_logits, select_float_parts
from support.small_networks import fpn_spec

CLASSES, ANCHORS = 21, 2
IMAGES = [np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8) for seed in range(9)]


def make_model(*, is_summed: bool = False) -> onnx.ModelProto:
    """Images (1, h, w, 3) -> 1x1 convolution to P * C logits -> rows (1, A, C)."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(ANCHORS * CLASSES, 3, 1, 1)).astype(np.float32) / 64
    constants = {"kernel": kernel, "shape": np.array([1, -1, CLASSES])}
    last = helper.make_node("Transpose", ["maps"], ["rows"], name="transpose", perm=[0, 2, 3, 1])
    if is_summed:
        last = helper.make_node("Add", ["maps", "maps"], ["rows"], name="add")
    nodes = [
        helper.make_node("Cast", ["images"], ["a"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["a"], ["b"], name="permute", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["b", "kernel"], ["maps"], name="conv"),
        last,
        helper.make_node("Reshape", ["rows", "shape"], ["logits"], name="reshape"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, 5, 4, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5 * 4 * ANCHORS, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def best_logits(image: NDArray[np.uint8]) -> float:
    """The smallest, over the anchors of an image, of their largest logit."""
    kernel = numpy_helper.to_array(make_model().graph.initializer[0])[:, :, 0, 0]
    logits = (image.reshape(-1, 3) @ kernel.T).reshape(-1, ANCHORS, CLASSES)
    return float(logits.max(-1).min())


def test_smallest_best_logits_are_those_of_a_slow_version() -> None:
    expected = np.quantile([best_logits(image) for image in IMAGES], 0.05)
    assert smallest_best_logits(make_model(), ["maps"], CLASSES, IMAGES)["maps"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("low", "is_clipped"), [(-100.0, True), (-1.0, False)])
def test_low_logits_are_clipped(low: float, is_clipped: bool) -> None:
    stats = {name: TensorStats(low, 9.0, np.zeros(1, np.float32)) for name in ("maps", "b")}
    clipped = clip_logits(make_model(), stats, fpn_spec(), IMAGES)
    best = np.quantile([best_logits(image) for image in IMAGES], 0.05)
    assert clipped["maps"].low == pytest.approx(min(0.0, best - LOGIT_MARGIN) if is_clipped else low, abs=1e-4)
    assert (clipped["maps"].high, clipped["b"]) == (9.0, stats["b"])


def test_logits_that_are_summed_keep_their_range_and_stay_in_float() -> None:
    model = make_model(is_summed=True)
    stats = {"maps": TensorStats(-100.0, 9.0, np.zeros(1, np.float32))}
    assert clip_logits(model, stats, fpn_spec(), IMAGES) == stats
    # The only convolution is the first one too.
    assert select_float_parts(model, pixels=True).outputs == {"conv"}
    assert select_float_parts(make_model(), pixels=True).outputs == frozenset()


@pytest.mark.parametrize("pixels", [False, True])
def test_the_first_convolution_is_in_8_bits_if_pixels_are(pixels: bool) -> None:
    nodes = select_float_parts(make_model(), pixels=pixels).nodes
    assert {"cast", "permute", "transpose", "reshape"} <= nodes
    assert ("conv" in nodes) == (not pixels)
