"""What every network of the house is put together from.

The five parts of the paper's figure 2, and two beside them, as base classes that say what goes in and out. A family
(`paper`, `ssd`, `lite`, `ssd_lite`) is a function that makes them; `BlitzNet` is the one class that runs them.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec

Maps: TypeAlias = tuple[Tensor, ...]
"""feature maps (B, D, h, w), finest first"""


@dataclass(frozen=True, slots=True)
class Heads:
    """What the network answers for a batch; a task that it does not have is None.

    Rows of the first two follow the anchors: map, row, column, anchor; finest map first.
    """

    offsets: Tensor | None
    """(B, A, 4) corrections to the anchors"""
    logits: Tensor | None
    """(B, A, C) class logits, background first"""
    segmentation_logits: Tensor | None
    """(B, C, h, w) segmentation logits, background first"""


class Encoder(nn.Module):
    """images (B, 3, H, W), normalised -> Maps. It tells each map's width and stride, so heads never guess."""

    channels: tuple[int, ...]
    """D of each map, finest first"""
    strides: tuple[int, ...]
    """pixels of the image per cell; a map's side is ceil(side / stride)"""

    def forward(self, images: Tensor) -> Maps:
        """Maps of the images, finest first, one for each of `strides`."""
        raise NotImplementedError


class Downscale(nn.Module):
    """Maps of the encoder -> the same maps and coarser ones after them."""

    channels: tuple[int, ...]
    """D of each map given, the encoder's included"""
    strides: tuple[int, ...]

    def forward(self, maps: Maps) -> Maps:
        """The maps that came in, and the stream's own after them."""
        raise NotImplementedError


class Upscale(nn.Module):
    """Maps of the downscale stream -> the maps that predict: one for each anchor stride, then one of 1x1."""

    channels: tuple[int, ...]
    """D of each map given, the pooled one included"""

    def forward(self, maps: Maps) -> Maps:
        """The maps that predict, finest first, the pooled one last."""
        raise NotImplementedError


class Detection(nn.Module):
    """Maps that predict -> for each of them offsets (B, P * 4, h, w) and class logits (B, P * C, h, w)."""

    classes: int
    """C"""

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets and logits of the P anchors of each cell; channel = anchor * 4 + number, anchor * C + class."""
        raise NotImplementedError

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that give logits: channel = anchor * C + class."""
        raise NotImplementedError


class SsdHead(nn.Module):
    """Maps of the downscale stream -> offsets and class logits that are added to the detection head's.

    Those of the pooled map are (B, P * 4, 1, 1) and (B, P * C, 1, 1).
    """

    def forward(self, down: Maps, up: Maps) -> tuple[Maps, Maps]:
        """Offsets of each map but the finest, or of none; logits of each; of the upscale stream only sizes are read."""
        raise NotImplementedError

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that give logits: channel = anchor * C + class."""
        raise NotImplementedError


class Segmentation(nn.Module):
    """Maps that predict, and the encoder's for fine detail -> features, and segmentation logits (B, C, h, w)."""

    classifier: nn.Conv2d
    """features -> logits"""

    def features(self, maps: Maps, encoded: Maps) -> Tensor:
        """What the classes are told from (B, D, h, w), at the head's own stride."""
        raise NotImplementedError

    def forward(self, maps: Maps, encoded: Maps) -> tuple[Tensor, Tensor]:
        """Features (B, D, h, w) and logits (B, C, h, w) at the head's own stride."""
        features = self.features(maps, encoded)
        return features, self.classifier(features)

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that give logits: channel = class."""
        return (self.classifier,)


class DetectionPrior(nn.Module):
    """What the boxes' class logits say of the class map: (B, C, h, w), added to the segmentation logits."""

    def forward(self, logits: Tensor, up: Maps, features: Tensor) -> Tensor:
        """Of class logits (B, A, C), the maps they stand on, and the segmentation head's features."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """The parts of one network; a task that it does not have is None."""

    encoder: Encoder
    downscale: Downscale
    upscale: Upscale
    detection: Detection | None
    segmentation: Segmentation | None
    ssd_head: SsdHead | None = None
    detection_prior: DetectionPrior | None = None


def require_strides(spec: Spec, strides: tuple[int, ...]) -> None:
    """Raise ModelError unless the maps that predict have the anchors' strides."""
    if strides != spec.anchors.strides:
        raise ModelError(
            f"{spec.name}: {spec.network.encoder} with {spec.network.extra_levels} extra blocks predicts at strides "
            f"{strides}, the anchors are laid out for {spec.anchors.strides}; change `extra` or the anchors"
        )


def require_boxes_only(spec: Spec) -> None:
    """Raise ModelError where a baseline without an upscale stream is asked for a class map."""
    if "segmentation" in spec.tasks:
        raise ModelError(f"{spec.name}: the {spec.network.family} family has no class map; set tasks to detection only")
