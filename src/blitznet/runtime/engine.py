"""The seam between the predictor and whatever computes the network."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from blitznet.core.arrays import RGBArray
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.core.spec import Spec

EngineName = Literal[
    "auto", "onnxruntime", "openvino", "torch", "torch-compiled", "onnxruntime-cuda", "onnxruntime-tensorrt"
]
"""`auto` stands for the fastest that is installed and runs the file"""

INPUT = "images"
"""what a file's input is called"""


class Engine(Protocol):
    """Something that runs a network: onnxruntime, OpenVINO, torch, or a fake in a test.

    One caller at a time: `run` may be called from any thread, but not from two at once.
    """

    @property
    def name(self) -> str:
        """An `EngineName`, never `auto`."""
        ...

    @property
    def spec(self) -> Spec:
        """The contract of the model inside."""
        ...

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        """Answers to images (B, h, w, 3) uint8 RGB, of the contract's size; the arrays are the caller's to keep.

        Detections come from a file that has the post-processing inside.
        """
        ...


@runtime_checkable
class Replicable(Protocol):
    """An engine that can be several, each with its part of the threads."""

    def replicate(self) -> Sequence[Engine]:
        """Engines of the same model; each has one caller at a time, and this one meanwhile has none.

        They are made at the first call, and kept.
        """
        ...


def replicas_of(engine: Engine) -> Sequence[Engine]:
    """The engines that may run at once in place of this one: itself where it cannot be divided."""
    return engine.replicate() if isinstance(engine, Replicable) else (engine,)
