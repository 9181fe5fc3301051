"""What goes on inside a network while it looks at images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import Floats, RGBArray
from blitznet.runtime.engine import INPUT_NAME
from blitznet.runtime.onnx_session import session_options
from blitznet.runtime.threads import available_threads

if TYPE_CHECKING:
    from onnx import ModelProto

INSIDE = 0.95
"""share of the images whose least and greatest values a range holds; one odd image would make it too wide"""
_MEASURES = ("Min", "Max", "Mean")
Moments: TypeAlias = NDArray[np.float64]
"""(D, D) sums of products of channels"""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Values of one tensor (1, D, h, w) over the images."""

    low: float
    high: float
    """the range, which has 0 in it"""
    means: Floats
    """(D,)"""


def observe(model: "ModelProto", names: Iterable[str], images: Sequence[RGBArray]) -> dict[str, Seen]:
    """The range and the channels' means of each of these tensors of a graph, over images (h, w, 3) uint8 RGB."""
    tensors = list(names)
    outputs = [f"{name}.{measure}" for name in tensors for measure in _MEASURES]
    session = _session(_measuring(model, tensors))
    values = [session.run(outputs, {INPUT_NAME: image[None]}) for image in images]
    seen = {}
    for number, name in enumerate(tensors):
        low, high, means = (np.stack([one[3 * number + place] for one in values]) for place in range(3))  # (n, D)
        seen[name] = Seen(
            low=min(0.0, float(np.quantile(low.min(1), 1 - INSIDE))),
            high=max(0.0, float(np.quantile(high.max(1), INSIDE))),
            means=np.asarray(means.mean(0), np.float32),
        )
    return seen


def second_moments(model: "ModelProto", names: Iterable[str], images: Sequence[RGBArray]) -> dict[str, Moments]:
    """How the channels (D, D) of each of these tensors (1, D, h, w) go together: sums of products over all places.

    Over images (h, w, 3) uint8 RGB.
    """
    tensors = sorted(set(names))
    outputs = [f"{name}.moments" for name in tensors]
    session = _session(_multiplying(model, tensors))
    sums: list[Moments] = [np.zeros(())] * len(tensors)
    for image in images:
        sums = [one + more for one, more in zip(sums, session.run(outputs, {INPUT_NAME: image[None]}), strict=True)]
    return dict(zip(tensors, sums, strict=True))


def _measuring(model: "ModelProto", names: Sequence[str]) -> "ModelProto":
    """The graph that answers each tensor's least, greatest and mean value of each channel."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    measuring = onnx.ModelProto()
    measuring.CopyFrom(model)
    axes = numpy_helper.from_array(np.array([0, 2, 3]), "measured.axes")
    measuring.graph.initializer.append(axes)
    del measuring.graph.output[:]
    for name in names:
        for measure in _MEASURES:
            output = f"{name}.{measure}"
            measuring.graph.node.append(helper.make_node(f"Reduce{measure}", [name, axes.name], [output], keepdims=0))
            measuring.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return measuring


def _multiplying(model: "ModelProto", names: Sequence[str]) -> "ModelProto":
    """The graph that answers each tensor's sums of products of its channels."""
    import onnx
    from onnx import TensorProto, helper

    multiplying = onnx.ModelProto()
    multiplying.CopyFrom(model)
    graph = multiplying.graph
    del graph.output[:]
    for name in names:
        channels_first, flat, turned, output = (f"{name}.{part}" for part in ("channels", "flat", "turned", "moments"))
        graph.node.append(helper.make_node("Transpose", [name], [channels_first], perm=[1, 0, 2, 3]))
        graph.node.append(helper.make_node("Flatten", [channels_first], [flat], axis=1))  # (D, places)
        graph.node.append(helper.make_node("Transpose", [flat], [turned], perm=[1, 0]))
        graph.node.append(helper.make_node("MatMul", [flat, turned], [output]))
        graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    return multiplying


def _session(model: "ModelProto") -> Any:
    import onnxruntime

    options = session_options(available_threads())
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
