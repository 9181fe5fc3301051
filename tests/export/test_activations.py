import numpy as np
import onnx
from onnx import TensorProto, helper

from blitznet.export.activations import collect_stats, second_moments

IMAGES = list(np.random.default_rng(0).integers(0, 9, (5, 6, 4, 3), np.uint8))
"""(h, w, 3)"""


def graph() -> onnx.ModelProto:
    """Images (B, h, w, 3) as maps (B, 3, h, w) of floats."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["maps"], "transpose", perm=[0, 3, 1, 2]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", 6, 4, 3])]
    outputs = [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["B", 3, 6, 4])]
    model = helper.make_model(helper.make_graph(nodes, "small", inputs, outputs), ir_version=9)
    model.opset_import[0].version = 18
    return model


def test_second_moments_are_sums_over_all_pixels_of_all_images() -> None:
    pixels = np.stack(IMAGES).reshape(-1, 3).astype(np.float64)
    (moments,) = second_moments(graph(), ["maps", "maps"], IMAGES).values()
    np.testing.assert_allclose(moments, pixels.T @ pixels)


def test_collect_stats_returns_ranges_and_means() -> None:
    stats = collect_stats(graph(), ["maps"], IMAGES)["maps"]
    np.testing.assert_allclose(stats.means, np.stack(IMAGES).mean((0, 1, 2)), rtol=1e-5)
    assert stats.low == 0
    assert 0 < stats.high <= np.stack(IMAGES).max()
