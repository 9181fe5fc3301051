"""The seam between the predictor and whatever computes the network."""

from typing import Protocol

from blitznet.core.arrays import Image
from blitznet.core.result import Outputs
from blitznet.core.spec import Spec


class Engine(Protocol):
    """Something that runs a network: onnxruntime, torch, or a fake in a test."""

    @property
    def spec(self) -> Spec:
        """The contract of the model inside."""
        ...

    def run(self, images: Image) -> Outputs:
        """Raw answers to images (B, h, w, 3) uint8 RGB, of the contract's size."""
        ...
