"""The policy of int8 quantization: what stays in float, and which part of the range of logits is kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blitznet.core.arrays import RGBArray
from blitznet.core.spec import Spec
from blitznet.export.activations import TensorStats, smallest_best_logits
from blitznet.runtime.engine import INPUT_NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LAYOUT_OPS = ("Transpose", "Reshape", "Concat")
"""operators that move numbers without changing them"""
LOGIT_MARGIN = 8.0
"""A logit that is lower than the largest of its anchor or pixel by more is clipped: its probability is below 0.0003."""


@dataclass(frozen=True, slots=True)
class FloatParts:
    """The parts of a graph that stay in float."""

    nodes: frozenset[str]
    """names of nodes that are computed in float"""
    outputs: frozenset[str]
    """names of convolutions in 8 bits whose outputs are not quantized"""


def select_float_parts(model: "ModelProto", *, pixels: bool) -> FloatParts:
    """Choose what stays in float.

    - The start: with exact 8-bit pixels nothing. Otherwise everything up to the first convolution, and a depthwise one
      directly after it; there, 8 bits cost the most accuracy and float the least time.
    - The end: everything after the last convolutions. They are in 8 bits, and so are their outputs, with a scale for
      each level, unless 1x1 convolutions are summed: rounding each term would cost accuracy.

    Args:
        model: The folded graph.
        pixels: Whether the first convolution reads pixels in 8 bits, without error.

    Returns:
        Names of nodes and of unquantized outputs.
    """
    graph = _Graph(model)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}  # (O, I, kh, kw)
    first = _until_convolution(graph.consumers[INPUT_NAME], graph.successors)
    second = _until_convolution(
        [user for node in first if node.op_type == "Conv" for user in graph.successors(node)], graph.successors
    )
    depthwise = [node for node in second if node.op_type == "Conv" and shapes[node.input[1]][1] == 1]
    start = [node for node in first if node.op_type != "Conv"] if pixels else [*first, *depthwise]
    last = graph.last_nodes([output.name for output in model.graph.output])
    after_last = [node for node in last if node.op_type != "Conv"]
    summed = [
        node
        for node in last
        if node.op_type == "Conv" and shapes[node.input[1]][2:] == (1, 1) and not graph.is_only_moved(node)
    ]
    return FloatParts(
        nodes=frozenset(node.name for node in (*start, *after_last)), outputs=frozenset(node.name for node in summed)
    )


def clip_logits(
    model: "ModelProto", stats: Mapping[str, TensorStats], spec: Spec, images: Sequence[RGBArray]
) -> dict[str, TensorStats]:
    """Raise the lower end of the logits' ranges to `LOGIT_MARGIN` below the smallest that is the largest anywhere.

    Logits far below the largest have no effect on scores or class maps, but reach far down: their range would leave
    few of the 256 steps to those that have.

    Args:
        model: The folded graph.
        stats: Statistics of its tensors.
        spec: Its spec.
        images: Calibration data.

    Returns:
        The statistics of all tensors.
    """
    graph, outputs = _Graph(model), {output.name for output in model.graph.output}
    last = graph.last_nodes([name for name in ("logits", "segmentation_logits") if name in outputs])
    logits = [node.output[0] for node in last if node.op_type == "Conv" and graph.is_only_moved(node)]
    best = smallest_best_logits(model, [name for name in logits if name in stats], spec.num_channels, images)
    clipped = {
        name: replace(stats[name], low=min(0.0, max(stats[name].low, value - LOGIT_MARGIN)))
        for name, value in best.items()
    }
    return {**stats, **clipped}


class _Graph:
    """Neighbors of the nodes of a graph."""

    def __init__(self, model: "ModelProto") -> None:
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def successors(self, node: "NodeProto") -> "list[NodeProto]":
        # The shape of an image goes to every resize and reshape, and does not depend on its pixels.
        return [user for name in node.output for user in self.consumers.get(name, ()) if node.op_type != "Shape"]

    def predecessors(self, node: "NodeProto") -> "list[NodeProto]":
        return [self.producers[name] for name in node.input if name in self.producers]

    def last_nodes(self, outputs: Sequence[str]) -> "list[NodeProto]":
        """The nodes before these outputs, up to and including the last convolutions."""
        return _until_convolution([self.producers[name] for name in outputs], self.predecessors)

    def is_only_moved(self, node: "NodeProto") -> bool:
        """Whether the results of a node reach outputs of the file unchanged, but for a sum with a value per channel."""
        return all(
            (user.op_type in LAYOUT_OPS or self._adds_to_channels(user, node)) and self.is_only_moved(user)
            for user in self.successors(node)
            if user.op_type != "Shape" and not self._is_only_reduced(user)
        )

    def _adds_to_channels(self, user: "NodeProto", node: "NodeProto") -> bool:
        """Whether a node adds a reduced tensor, one value per channel, to the result of another node."""
        others = {name for name in user.input if name not in node.output}
        return user.op_type == "Add" and bool(others & self.producers.keys()) and all(map(self._is_reduced, others))

    def _is_reduced(self, name: str) -> bool:
        """Whether a tensor depends on maps through reductions only."""
        node = self.producers.get(name)
        if node is None or node.op_type.startswith("Reduce"):
            return True
        return node.op_type != "Conv" and all(self._is_reduced(source) for source in node.input)

    def _is_only_reduced(self, node: "NodeProto") -> bool:
        """Whether the result of a node reaches outputs through reductions only."""
        if node.op_type.startswith("Reduce"):
            return True
        users = self.successors(node)
        return bool(users) and all(self._is_only_reduced(user) for user in users)


def _until_convolution(
    start: "Iterable[NodeProto]", neighbors: "Callable[[NodeProto], list[NodeProto]]"
) -> "list[NodeProto]":
    """All nodes that are reached from `start`, up to and including the first convolution of each path."""
    reached: dict[str, NodeProto] = {}
    stack = list(start)
    while stack:
        node = stack.pop()
        if node.name not in reached and node.op_type != "Conv":
            stack += neighbors(node)
        reached[node.name] = node
    return list(reached.values())
