"""The parts that every network consists of, as interfaces.

Five parts are those of the paper's figure 2; the SSD head and the detection prior are additions of the light networks.
A family (`paper`, `ssd`, `lite`, `lite_fpn`, `ssd_lite`) is a function that builds the parts; `BlitzNet` runs them.
"""

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec

Maps: TypeAlias = tuple[Tensor, ...]
"""feature maps (B, D, h, w), finest first"""


@dataclass(frozen=True, slots=True)
class HeadOutputs:
    """Raw outputs of a network for a batch; those of a task that the network does not have are None.

    The A rows of `offsets` and `logits` follow the anchors: map (finest first), row, column, anchor of the cell.
    """

    offsets: Tensor | None
    """box offsets (B, A, 4), relative to the anchors"""
    logits: Tensor | None
    """class logits (B, A, C), background first"""
    segmentation_logits: Tensor | None
    """segmentation logits (B, C, h, w), background first"""


class Encoder(nn.Module):
    """Normalized images (B, 3, H, W) -> one feature map per stride."""

    out_channels: tuple[int, ...]
    """channels of each map, finest first"""
    strides: tuple[int, ...]
    """pixels of the image per cell of each map; a map of an H W image has ceil(H / stride) x ceil(W / stride) cells"""

    def forward(self, images: Tensor) -> Maps:
        """Maps of the images, finest first, one for each of `strides`."""
        raise NotImplementedError

    def stages(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each map, the modules between the map before it, or the image, and this map."""
        # A map that is computed inside a module, such as an expansion, ends the stage before that module. Each module
        # with parameters is in one stage.
        raise NotImplementedError


class Downscale(nn.Module):
    """Maps of the encoder -> the same maps, then ever coarser ones."""

    out_channels: tuple[int, ...]
    """channels of each returned map, those of the encoder included"""
    strides: tuple[int, ...]
    """pixels of the image per cell of each returned map"""

    def forward(self, maps: Maps) -> Maps:
        """The given maps, then the stream's own."""
        raise NotImplementedError


class Upscale(nn.Module):
    """Maps of the downscale stream -> the maps that the heads read: one for each anchor stride, then one of 1x1.

    A stream may return further maps between those, if its heads read two on a level.
    """

    out_channels: tuple[int, ...]
    """channels of each returned map, the pooled one included"""

    def forward(self, maps: Maps) -> Maps:
        """The maps that the heads read, finest first, the pooled one last."""
        raise NotImplementedError


class DetectionHead(nn.Module):
    """Maps of the upscale stream -> box offsets (B, P * 4, h, w) and class logits (B, P * C, h, w) of each map."""

    num_classes: int
    """C, background included"""

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets and logits of the P anchors of each cell; channel = anchor * 4 + offset, anchor * C + class."""
        raise NotImplementedError

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that return logits: channel = anchor * C + class."""
        raise NotImplementedError


class SsdHead(nn.Module):
    """Maps of the downscale stream -> offsets and class logits that are added to those of the detection head.

    Those of the pooled map are (B, P * 4, 1, 1) and (B, P * C, 1, 1).
    """

    def forward(self, down: Maps, up: Maps) -> tuple[Maps, Maps]:
        """Offsets of each map but the finest, or no offsets; logits of each map. Only the sizes of `up` are used."""
        raise NotImplementedError

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that return logits: channel = anchor * C + class."""
        raise NotImplementedError


class SegmentationHead(nn.Module):
    """Maps of the upscale stream, and the encoder's for fine detail -> features and segmentation logits."""

    classifier: nn.Conv2d
    """features -> logits"""

    def features(self, maps: Maps, encoded: Maps) -> Tensor:
        """The input of the classifier (B, D, h, w), at the head's stride."""
        raise NotImplementedError

    def forward(self, maps: Maps, encoded: Maps) -> tuple[Tensor, Tensor]:
        """Features (B, D, h, w) and segmentation logits (B, C, h, w), at the head's stride."""
        features = self.features(maps, encoded)
        return features, self.classifier(features)

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions that return logits: channel = class."""
        return (self.classifier,)


class DetectionPrior(nn.Module):
    """Class logits of the boxes -> logits (B, C, h, w) that are added to the segmentation logits."""

    def forward(self, logits: Tensor, up: Maps, features: Tensor) -> Tensor:
        """Added logits from class logits (B, A, C), the maps of the anchors and the segmentation head's features."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class NetworkParts:
    """The parts of one network; a part that it does not have is None."""

    encoder: Encoder
    downscale: Downscale
    upscale: Upscale
    detection: DetectionHead | None
    segmentation: SegmentationHead | None
    ssd_head: SsdHead | None = None
    detection_prior: DetectionPrior | None = None


def require_strides(spec: Spec, strides: tuple[int, ...]) -> None:
    """Raise ModelError unless the maps that the heads read have the strides of the anchors."""
    if strides != spec.anchors.strides:
        raise ModelError(
            f"{spec.name}: expected maps of the anchors' strides {spec.anchors.strides}, got {strides} from "
            f"{spec.network.encoder} with {spec.network.extra_levels} extra levels; "
            "change `extra_levels` or the anchors"
        )


def require_boxes_only(spec: Spec) -> None:
    """Raise ModelError if a baseline without an upscale stream is to have a segmentation head."""
    if "segmentation" in spec.tasks:
        raise ModelError(
            f"{spec.name}: expected tasks of the {spec.network.family} family, which has no class map, "
            f"got {list(spec.tasks)}; set tasks to detection"
        )
