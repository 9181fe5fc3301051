"""The network: images -> Heads, in the order of the paper's figure 2.

encoder -> downscale stream -> upscale stream -> detection and segmentation. Fully convolutional:
any input size, square or not; each halving rounds up.
"""

from collections.abc import Callable

from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.heads import rows
from blitznet.nets.lite import lite, ssd_lite
from blitznet.nets.paper import paper, ssd
from blitznet.nets.parts import (
    Detection,
    DetectionPrior,
    Downscale,
    Encoder,
    Heads,
    Maps,
    NetworkParts,
    Segmentation,
    SsdHead,
    Upscale,
)

FAMILIES: dict[str, Callable[[Spec], NetworkParts]] = {
    "blitznet": paper,
    "ssd": ssd,
    "lite": lite,
    "ssd-lite": ssd_lite,
}
"""the blocks a network is made of, by `Network.family`"""


class BlitzNet(nn.Module):
    """One network for boxes and a class for every pixel (paper 3.1)."""

    def __init__(
        self,
        encoder: Encoder,
        downscale: Downscale,
        upscale: Upscale,
        detection: Detection | None,
        segmentation: Segmentation | None,
        ssd_head: SsdHead | None = None,
        detection_prior: DetectionPrior | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.downscale = downscale
        self.upscale = upscale
        self.detection = detection
        self.segmentation = segmentation
        self.ssd_head = ssd_head
        self.detection_prior = detection_prior

    def forward(self, images: Tensor) -> Heads:
        """Heads for images (B, 3, H, W), already normalised."""
        encoded: Maps = self.encoder(images)
        down: Maps = self.downscale(encoded)
        up: Maps = self.upscale(down)
        if self.detection is None:
            return Heads(None, None, self._class_map(None, up, encoded))
        offsets, logits = self._boxes(self.detection, down, up)
        said = rows(logits, self.detection.classes)
        return Heads(rows(offsets, 4), said, self._class_map(said, up, encoded))

    def _boxes(self, detection: Detection, down: Maps, up: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and class logits (B, P * C, h, w) of each map that predicts."""
        offsets, logits = detection(up)
        if self.ssd_head is not None:  # map by map, which runtimes do in passing; rows would have to be added apart
            more_offsets, more_logits = self.ssd_head(down, up)
            logits = tuple(x + more for x, more in zip(logits, more_logits, strict=True))
            if more_offsets:
                finest, *coarser = offsets
                offsets = (finest, *(x + more for x, more in zip(coarser, more_offsets, strict=True)))
        return offsets, logits

    def _class_map(self, logits: Tensor | None, up: Maps, encoded: Maps) -> Tensor | None:
        if self.segmentation is None:
            return None
        class_map: Tensor
        features, class_map = self.segmentation(up, encoded)
        if self.detection_prior is not None and logits is not None:
            class_map = class_map + self.detection_prior(logits, up, features)
        return class_map


def build(spec: Spec) -> BlitzNet:
    """The network of a contract, with fresh weights; which heads it has is `spec.tasks`.

    Raises ModelError for an unknown family, and for an encoder, strides or a task that the family cannot have.
    """
    if spec.network.family not in FAMILIES:
        raise ModelError(f"{spec.name}: expected a family of {', '.join(FAMILIES)}, got '{spec.network.family}'")
    parts = FAMILIES[spec.network.family](spec)
    return BlitzNet(
        parts.encoder,
        parts.downscale,
        parts.upscale,
        parts.detection,
        parts.segmentation,
        parts.ssd_head,
        parts.detection_prior,
    )
