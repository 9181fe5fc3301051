"""The network: images -> raw outputs of its heads, in the order of the paper's figure 2.

encoder -> downscale stream -> upscale stream -> detection and segmentation heads. Fully convolutional: images may have
any size; where a map is halved, its size is rounded up.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec, Task
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.lite import lite, ssd_lite
from blitznet.nets.lite_fpn import lite_fpn
from blitznet.nets.paper import paper, ssd
from blitznet.nets.parts import DetectionHead, HeadOutputs, Maps, NetworkParts

FAMILIES: dict[str, Callable[[Spec], NetworkParts]] = {
    "blitznet": paper,
    "ssd": ssd,
    "lite": lite,
    "lite-fpn": lite_fpn,
    "ssd-lite": ssd_lite,
}
"""builders of a network's parts, by `Network.family`"""

MASKED_LOGIT = -1000.0
"""logit of a class that a head does not predict: its probability is exactly 0, in every precision and engine"""


class BlitzNet(nn.Module):
    """One network for boxes and a class for every pixel (paper 3.1)."""

    masked_boxes: Tensor | None
    """(C,) bool, channels of the classes that boxes are not predicted of; None if there is none"""
    masked_pixels: Tensor | None
    """(C,) bool, channels of the classes that the class map does not contain; None if there is none"""

    def __init__(self, parts: NetworkParts, spec: Spec | None = None) -> None:
        """Args: the parts; the spec whose `detection_classes` and `segmentation_classes` apply, None for all."""
        super().__init__()
        self.register_buffer("masked_boxes", _masked_channels(spec, "detection"), persistent=False)
        self.register_buffer("masked_pixels", _masked_channels(spec, "segmentation"), persistent=False)
        self.encoder = parts.encoder
        self.downscale = parts.downscale
        self.upscale = parts.upscale
        self.detection = parts.detection
        self.segmentation = parts.segmentation
        self.ssd_head = parts.ssd_head
        self.detection_prior = parts.detection_prior

    def forward(self, images: Tensor) -> HeadOutputs:
        """Raw outputs for images (B, 3, H, W), already normalized."""
        encoded: Maps = self.encoder(images)
        down: Maps = self.downscale(encoded)
        up: Maps = self.upscale(down)
        if self.detection is None:
            return HeadOutputs(None, None, self._segment(None, up, encoded))
        offset_maps, logit_maps = self._detect(self.detection, down, up)
        logits = flatten_predictions(logit_maps, self.detection.num_classes)
        if self.masked_boxes is not None:
            logits = logits.masked_fill(self.masked_boxes, MASKED_LOGIT)
        return HeadOutputs(flatten_predictions(offset_maps, 4), logits, self._segment(logits, up, encoded))

    def _detect(self, detection: DetectionHead, down: Maps, up: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and class logits (B, P * C, h, w) of each map, both heads added."""
        offsets, logits = detection(up)
        if self.ssd_head is not None:
            # Added before flattening: runtimes fuse an addition with a convolution.
            ssd_offsets, ssd_logits = self.ssd_head(down, up)
            logits = tuple(x + added for x, added in zip(logits, ssd_logits, strict=True))
            if ssd_offsets:
                finest, *coarser = offsets
                offsets = (finest, *(x + added for x, added in zip(coarser, ssd_offsets, strict=True)))
        return offsets, logits

    def _segment(self, logits: Tensor | None, up: Maps, encoded: Maps) -> Tensor | None:
        """Segmentation logits (B, C, h, w), the detection prior added; None without a segmentation head."""
        if self.segmentation is None:
            return None
        segmentation_logits: Tensor
        features, segmentation_logits = self.segmentation(up, encoded)
        if self.detection_prior is not None and logits is not None:
            prior = self.detection_prior(logits, up, features)
            if self.masked_boxes is not None:  # boxes say nothing about these classes
                prior = prior.masked_fill(self.masked_boxes[:, None, None], 0.0)
            segmentation_logits = segmentation_logits + prior
        if self.masked_pixels is not None:
            segmentation_logits = segmentation_logits.masked_fill(self.masked_pixels[:, None, None], MASKED_LOGIT)
        return segmentation_logits


def build(spec: Spec) -> BlitzNet:
    """Build the network of a spec, randomly initialized.

    Args:
        spec: The spec; its `tasks` select the heads.

    Returns:
        The network in training mode.

    Raises:
        ModelError: The family is unknown, or it cannot have the encoder, the strides or a task of the spec.
    """
    if spec.network.family not in FAMILIES:
        raise ModelError(f"{spec.name}: expected a family of {', '.join(FAMILIES)}, got '{spec.network.family}'")
    return BlitzNet(FAMILIES[spec.network.family](spec), spec)


def _masked_channels(spec: Spec | None, task: Task) -> Tensor | None:
    """(C,) bool, the classes that a head does not predict; None if it predicts all, or is missing."""
    if spec is None or task not in spec.tasks or all(spec.predicts(task)):
        return None
    # On the CPU even where the network is built on the meta device: the state dict does not have it.
    return torch.tensor([False, *(not predicted for predicted in spec.predicts(task))], device="cpu")
