"""Engine: the interface between a predictor and what runs the network."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from blitznet.core.arrays import RGBArray
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec

EngineName = Literal[
    "auto", "onnxruntime", "openvino", "torch", "torch-compiled", "onnxruntime-cuda", "onnxruntime-tensorrt"
]
"""`auto` is the fastest engine that is installed and runs the file"""

INPUT_NAME = "images"
"""name of a model file's input"""


class Engine(Protocol):
    """Runs a network on a batch: onnxruntime, OpenVINO, torch, or a fake in a test.

    Not thread-safe: `run` may be called from any thread, but not from two at once.
    """

    @property
    def name(self) -> str:
        """An `EngineName` other than `auto`."""
        ...

    @property
    def spec(self) -> Spec:
        """The model's metadata."""
        ...

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Run the network.

        Args:
            images: (B, h, w, 3) uint8 RGB, of the spec's input size.

        Returns:
            Raw outputs, or detections of a model file with NMS inside. The caller may change the arrays.
        """
        ...


@runtime_checkable
class Replicable(Protocol):
    """An engine that can be replaced by several with fewer threads each, for more throughput."""

    def replicate(self) -> Sequence[Engine]:
        """Create engines of the same model that may run at the same time; while they run, this one must not.

        Returns:
            The engines; they are created on the first call and kept.
        """
        ...


def replicas_of(engine: Engine) -> Sequence[Engine]:
    """The engines that may run at once in place of this one; itself if it cannot be replicated."""
    return engine.replicate() if isinstance(engine, Replicable) else (engine,)
