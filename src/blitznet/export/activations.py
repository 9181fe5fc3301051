"""Statistics of a network's activations on calibration images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats, RGBArray
from blitznet.export.folding import LOG_ERRORS_ONLY
from blitznet.runtime.engine import INPUT_NAME
from blitznet.runtime.threads import available_threads

if TYPE_CHECKING:
    from onnx import ModelProto

RANGE_QUANTILE = 0.95
"""fraction of the images whose minimum and maximum a range covers; a single unusual image would widen it too much"""
_REDUCTIONS = ("Min", "Max", "Mean")
Moments: TypeAlias = NDArray[np.float64]
"""(D, D) sums of products of channels"""


@dataclass(frozen=True, slots=True, eq=False)
class TensorStats:
    """Statistics of one tensor (1, D, h, w) over the images."""

    low: float
    """lower end of its range, at most 0"""
    high: float
    """upper end of its range, at least 0"""
    means: Floats
    """(D,) mean of each channel"""


def collect_stats(model: "ModelProto", names: Iterable[str], images: Sequence[RGBArray]) -> dict[str, TensorStats]:
    """Range and channel means of tensors.

    Args:
        model: The graph.
        names: Names of its tensors (1, D, h, w).
        images: Images (h, w, 3) uint8 RGB of the graph's input size.

    Returns:
        The statistics by name.
    """
    tensors = list(names)
    outputs = [f"{name}.{reduction}" for name in tensors for reduction in _REDUCTIONS]
    session = _open_session(_with_reductions(model, tensors))
    values = [session.run(outputs, {INPUT_NAME: image[None]}) for image in images]
    stats = {}
    for index, name in enumerate(tensors):
        low, high, means = (np.stack([value[3 * index + offset] for value in values]) for offset in range(3))  # (n, D)
        stats[name] = TensorStats(
            low=min(0.0, float(np.quantile(low.min(1), 1 - RANGE_QUANTILE))),
            high=max(0.0, float(np.quantile(high.max(1), RANGE_QUANTILE))),
            means=np.asarray(means.mean(0), np.float32),
        )
    return stats


def second_moments(model: "ModelProto", names: Iterable[str], images: Sequence[RGBArray]) -> dict[str, Moments]:
    """Second moments of the channels of tensors.

    Args:
        model: The graph.
        names: Names of its tensors (1, D, h, w).
        images: Images (h, w, 3) uint8 RGB of the graph's input size.

    Returns:
        By name, the sums (D, D) of the products of two channels over all pixels of all images.
    """
    tensors = sorted(set(names))
    outputs = [f"{name}.moments" for name in tensors]
    session = _open_session(_with_products(model, tensors))
    sums: list[Moments] = [np.zeros(())] * len(tensors)
    for image in images:
        products = session.run(outputs, {INPUT_NAME: image[None]})
        sums = [total + product for total, product in zip(sums, products, strict=True)]
    return dict(zip(tensors, sums, strict=True))


def smallest_best_logits(
    model: "ModelProto", names: Sequence[str], num_classes: int, images: Sequence[RGBArray]
) -> dict[str, float]:
    """How small the largest logit of an anchor or pixel gets.

    Args:
        model: The graph.
        names: Names of its logits (1, P * C, h, w), channel = anchor * C + class.
        num_classes: C, background included.
        images: Images (h, w, 3) uint8 RGB of the graph's input size.

    Returns:
        By name, the minimum over the P h w anchors of their largest logit, which `RANGE_QUANTILE` of the images exceed.
    """
    if not names:
        return {}
    session = _open_session(_with_best_logits(model, names, num_classes))
    outputs = [f"{name}.best" for name in names]
    values = [session.run(outputs, {INPUT_NAME: image[None]}) for image in images]
    return {
        name: float(np.quantile([value[index] for value in values], 1 - RANGE_QUANTILE))
        for index, name in enumerate(names)
    }


def _with_best_logits(model: "ModelProto", names: Sequence[str], num_classes: int) -> "ModelProto":
    """The graph with, as its outputs, the minimum over anchors of the largest of their logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    graph = extended.graph
    constants = {"best.shape": [-1, num_classes], "best.axis": [1]}
    for name, numbers in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.array(numbers), name))
    del graph.output[:]
    for name in names:
        last, anchors, largest, output = (f"{name}.{part}" for part in ("last", "anchors", "largest", "best"))
        graph.node.append(helper.make_node("Transpose", [name], [last], perm=[0, 2, 3, 1]))
        graph.node.append(helper.make_node("Reshape", [last, "best.shape"], [anchors]))  # (anchors, C)
        graph.node.append(helper.make_node("ReduceMax", [anchors, "best.axis"], [largest], keepdims=0))
        graph.node.append(helper.make_node("ReduceMin", [largest], [output], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return extended


def _with_reductions(model: "ModelProto", names: Sequence[str]) -> "ModelProto":
    """The graph with minimum, maximum and mean of each channel of the tensors as its outputs."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    axes = numpy_helper.from_array(np.array([0, 2, 3]), "reduction.axes")
    extended.graph.initializer.append(axes)
    del extended.graph.output[:]
    for name in names:
        for reduction in _REDUCTIONS:
            output = f"{name}.{reduction}"
            extended.graph.node.append(helper.make_node(f"Reduce{reduction}", [name, axes.name], [output], keepdims=0))
            extended.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return extended


def _with_products(model: "ModelProto", names: Sequence[str]) -> "ModelProto":
    """The graph with the second moments of the tensors' channels as its outputs."""
    import onnx
    from onnx import TensorProto, helper

    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    graph = extended.graph
    del graph.output[:]
    for name in names:
        first, flat, transposed, output = (f"{name}.{part}" for part in ("channels", "flat", "transposed", "moments"))
        graph.node.append(helper.make_node("Transpose", [name], [first], perm=[1, 0, 2, 3]))
        graph.node.append(helper.make_node("Flatten", [first], [flat], axis=1))  # (D, pixels)
        graph.node.append(helper.make_node("Transpose", [flat], [transposed], perm=[1, 0]))
        graph.node.append(helper.make_node("MatMul", [flat, transposed], [output]))
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return extended


def _open_session(model: "ModelProto") -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.intra_op_num_threads = available_threads()  # a number, not 0: with 0 onnxruntime pins its threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
