"""The light network: BlitzNet's streams and heads of depthwise-separable convolutions, on SSDLite's encoder.

The structure is the paper's (figures 2 and 3) with lighter blocks. The class map takes its fine detail from a map of
the encoder with few channels instead of a finer upscale stream. Three parts are additions: SSDLite's own head on the
downscale stream, a detection prior of the class map, and lateral connections to the segmentation head.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import ALL_TASKS, Network, Spec
from blitznet.nets.blocks import init_trunc_normal_
from blitznet.nets.efficientnet import EfficientNetLite
from blitznet.nets.encoder import make_encoder
from blitznet.nets.fusion import FusionLayers
from blitznet.nets.heads import apply_each, as_convolutions, init_class_biases_, output_conv
from blitznet.nets.image_prior import image_log_prior
from blitznet.nets.mobilenet import LiteConv, LiteDownscale, MobileNetV2, depthwise, linear, separable
from blitznet.nets.parts import (
    DetectionHead,
    DetectionPrior,
    Encoder,
    Maps,
    NetworkParts,
    SegmentationHead,
    SsdHead,
    require_boxes_only,
    require_strides,
)
from blitznet.nets.resize import resize_like
from blitznet.nets.upscale import NoUpscale, UpscaleStream

LITE_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "mobilenetv2-ssdlite": MobileNetV2,
    "efficientnet-lite0": EfficientNetLite.lite0,
    "efficientnet-lite2": EfficientNetLite.lite2,
}
"""the light encoders by name; the paper's encoders are possible too"""


def lite(spec: Spec) -> NetworkParts:
    """The parts of a light network, randomly initialized.

    Raises:
        ModelError: The encoder is unknown, or its maps do not have the strides of the spec.
    """
    network, count = spec.network, len(spec.anchors.strides)
    anchors_per_cell = spec.anchors.num_anchors_per_cell
    encoder = make_lite_encoder(network)
    downscale = LiteDownscale(encoder, network.extra_levels)
    require_strides(spec, downscale.strides[-count - 1 : -1])
    upscale = UpscaleStream(downscale.out_channels[-count - 1 :], network, SEPARABLE_LAYERS)
    # The heads are built even if the spec does not have them: random initialization then does not depend on the tasks.
    detection = LiteDetectionHead(
        upscale.out_channels, anchors_per_cell=anchors_per_cell, num_classes=spec.num_channels
    )
    has_detection, has_segmentation = "detection" in spec.tasks, "segmentation" in spec.tasks
    segmentation = LiteSegmentationHead(upscale.out_channels, spec, encoder) if has_segmentation else None
    ssd_head = LiteSsdHead(
        downscale.out_channels[-count:],
        anchors_per_cell=anchors_per_cell,
        num_classes=spec.num_channels,
        boxes=network.ssd_box_head,
    )
    prior = None
    if network.detection_prior and spec.tasks == ALL_TASKS:
        prior = LiteDetectionPrior(upscale.out_channels, network, anchors_per_cell=anchors_per_cell)
    return NetworkParts(
        encoder,
        downscale,
        upscale,
        detection if has_detection else None,
        segmentation,
        ssd_head if network.ssd_head and has_detection else None,
        prior,
    )


def ssd_lite(spec: Spec) -> NetworkParts:
    """The parts of the baseline: the same detection head directly on the downscale stream, no class map."""
    require_boxes_only(spec)
    encoder, count = make_lite_encoder(spec.network), len(spec.anchors.strides)
    downscale = LiteDownscale(encoder, spec.network.extra_levels)
    require_strides(spec, downscale.strides[-count:])
    upscale = NoUpscale(downscale.out_channels[-count:])
    detection = LiteDetectionHead(
        upscale.out_channels, anchors_per_cell=spec.anchors.num_anchors_per_cell, num_classes=spec.num_channels
    )
    return NetworkParts(encoder, downscale, upscale, detection, None)


def make_lite_encoder(network: Network) -> Encoder:
    """The light encoder of this name, or one of the paper's."""
    return LITE_ENCODERS.get(network.encoder, lambda: make_encoder(network.encoder))()


def _bottleneck(in_channels: int, hidden_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        LiteConv(in_channels, hidden_channels),
        depthwise(hidden_channels),
        linear(hidden_channels, out_channels),
    )


SEPARABLE_LAYERS = FusionLayers(
    bottleneck=_bottleneck,
    project=linear,
    conv3x3=separable,
)
"""fusion blocks whose 3x3 convolutions are depthwise"""


class LiteDetectionHead(DetectionHead):
    """On each map, not shared: a depthwise 3x3 and a 1x1 to offsets, and the same to class logits."""

    def __init__(self, in_channels: Sequence[int], *, anchors_per_cell: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.offsets = _predictors(in_channels, anchors_per_cell * 4)
        self.logits = _predictors(in_channels, anchors_per_cell * num_classes)
        init_class_biases_(self.class_layers(), num_classes)

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and logits (B, P * C, h, w) of each map."""
        return apply_each(self.offsets, maps), apply_each(self.logits, maps)

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The 1x1 to the classes of each map."""
        return tuple(as_convolutions(predictor.get_submodule("1") for predictor in self.logits))


class LiteSsdHead(SsdHead):
    """SSDLite's head on the downscale stream: on each map a depthwise 3x3, then a 1x1 to class logits.

    With `boxes` it has box predictors of the same form. SSDLite has no predictor on the finest map: its logits there
    are a 1x1 of the next coarser map's features, upsampled. Its coarsest predictions are averaged for the pooled map.
    """

    def __init__(
        self, in_channels: Sequence[int], *, anchors_per_cell: int, num_classes: int, boxes: bool = False
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.ModuleList(depthwise(channels) for channels in in_channels)
        self.logits = nn.ModuleList(output_conv(channels, anchors_per_cell * num_classes) for channels in in_channels)
        self.finest_logits = output_conv(in_channels[0], anchors_per_cell * num_classes)
        self.offsets = nn.ModuleList(
            nn.Sequential(depthwise(channels), output_conv(channels, anchors_per_cell * 4))
            for channels in (in_channels if boxes else ())
        )

    def forward(self, down: Maps, up: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) of each map but the finest, or no offsets; logits (B, P * C, h, w) of each map."""
        maps = down[-len(self.features) :]
        features = apply_each(self.features, maps)
        finest = resize_like(self.finest_logits(features[0]), up[0], "nearest")
        offsets = _pool_coarsest(apply_each(self.offsets, maps)) if len(self.offsets) else ()
        return offsets, (finest, *_pool_coarsest(apply_each(self.logits, features)))

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The 1x1 to the classes of each map."""
        return tuple(as_convolutions((self.finest_logits, *self.logits)))


class LiteSegmentationHead(SegmentationHead):
    """All maps, reduced and fused on the grid of the finest; then, if the stride is finer, detail of an encoder map.

    Nearly all of the work is done at the stride of the finest anchors (8). At stride 4 there are only a projection of
    the encoder's map, one depthwise convolution and the classifier. With `lateral_channels` the encoder's two coarsest
    maps are added before the fusion's 5x5.
    """

    def __init__(self, in_channels: Sequence[int], spec: Spec, encoder: Encoder) -> None:
        super().__init__()
        network = spec.network
        self.resize_mode = network.segmentation_resize
        self.fine_index = _fine_map_index(spec, encoder)
        reduced, hidden = network.segmentation_channels, network.hidden_channels
        self.reduce = nn.ModuleList(
            [
                *(LiteConv(channels, reduced, activation=nn.ReLU) for channels in in_channels[:-1]),
                _pooled_conv(in_channels[-1], reduced),
            ]
        )
        self.fuse = nn.Sequential(
            LiteConv(reduced * len(in_channels), network.channels, activation=nn.ReLU),
            depthwise(network.channels, 5),
            LiteConv(network.channels, hidden, activation=nn.ReLU if self.fine_index is None else nn.Identity),
        )
        lateral_channels = network.lateral_channels or 0
        coarsest = encoder.out_channels[-2:] if lateral_channels else ()
        self.laterals = nn.ModuleList(_Lateral(channels, lateral_channels, network.channels) for channels in coarsest)
        self.residual_block = _ResidualBlock(network.channels) if coarsest else nn.Identity()
        if self.fine_index is not None:
            self.fine_lateral = linear(encoder.out_channels[self.fine_index], hidden)
            self.smooth = depthwise(hidden)
        self.classifier = nn.Conv2d(hidden, spec.num_channels, 1)
        init_trunc_normal_(self.classifier, 0.1)

    def features(self, maps: Maps, encoded: Maps) -> Tensor:
        """(B, D, h, w) at the size of the fine encoder map, or of the finest map if there is none."""
        reduced = [
            resize_like(reduce(x), maps[0], self.resize_mode) for reduce, x in zip(self.reduce, maps, strict=True)
        ]
        concat_conv, spatial_conv, output_conv = self.fuse
        x: Tensor = concat_conv(torch.cat(reduced, 1))
        for lateral, coarse in zip(self.laterals, encoded[len(encoded) - len(self.laterals) :], strict=True):
            x = x + resize_like(lateral(coarse), maps[0], "bilinear")
        x = output_conv(self.residual_block(spatial_conv(x)))
        if self.fine_index is not None:
            fine = encoded[self.fine_index]
            x = resize_like(x, fine, self.resize_mode)
            x = self.smooth((x + self.fine_lateral(fine)).relu())
        return x


class _Lateral(nn.Sequential):
    """Lateral connection: a map of the encoder, reduced, to be added. Zero-initialized."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        last = nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
        nn.init.zeros_(last.weight)
        super().__init__(LiteConv(in_channels, hidden_channels, activation=nn.ReLU), last)


class _ResidualBlock(nn.Module):
    """x plus an inverted bottleneck of x with a depthwise 5x5. The bottleneck is zero-initialized."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = linear(2 * channels, channels)
        nn.init.zeros_(last.norm.weight)
        self.residual = nn.Sequential(LiteConv(channels, 2 * channels), depthwise(2 * channels, 5), last)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of x and the bottleneck."""
        residual: Tensor = self.residual(x)
        return x + residual


class LiteDetectionPrior(DetectionPrior):
    """Adds to a pixel's class logits how much the anchors around it prefer the class to background.

    A local term is gated by how likely the pixel is foreground. Both gates are shared by all classes, so the term also
    helps classes with few or no masks in the training data. A global term, the image-level prior, lowers classes
    that no anchor of the image prefers.
    """

    def __init__(self, in_channels: Sequence[int], network: Network, *, anchors_per_cell: int) -> None:
        super().__init__()
        self.anchors_per_cell = anchors_per_cell
        self.image_prior_weight = network.image_prior_weight
        self.level_weights = nn.Conv2d(in_channels[0], len(in_channels), 1)
        self.foreground_gate = nn.Conv2d(network.hidden_channels, 1, 1)
        for conv, bias in ((self.level_weights, 0.0), (self.foreground_gate, -2.0)):
            init_trunc_normal_(conv, 0.1)
            assert conv.bias is not None
            nn.init.constant_(conv.bias, bias)

    def forward(self, logits: Tensor, up: Maps, features: Tensor) -> Tensor:
        """(B, C, h, w) from class logits (B, A, C), which are detached: masks must not change the scores of boxes."""
        sizes = [(x.shape[-2], x.shape[-1]) for x in up]
        margins = self._margins(logits.detach())
        weights, total = self.level_weights(up[0]).sigmoid(), None
        for level, margin in enumerate(_split_levels(margins.relu(), sizes)):
            weighted = weights[:, level : level + 1] * resize_like(margin, up[0], "bilinear")
            total = weighted if total is None else total + weighted
        assert total is not None
        gate: Tensor = self.foreground_gate(features).sigmoid()
        # Scores on training images are overconfident. With a larger weight in training, the class map would rely
        # on them.
        image_weight = 1.0 if self.training else self.image_prior_weight
        image_prior = image_weight * image_log_prior(margins.amax(2))
        return gate * resize_like(total, features, "bilinear") + image_prior

    def _margins(self, logits: Tensor) -> Tensor:
        """(B, C, cells): the largest margin over background of a cell's anchors."""
        batch, _, classes = logits.shape
        margins = (logits - logits[..., :1]).reshape(batch, -1, self.anchors_per_cell, classes)
        return margins.amax(2).transpose(1, 2)


def _split_levels(cells: Tensor, sizes: Sequence[tuple[int, int]]) -> Maps:
    """(B, C, h, w) of each map, from (B, C, cells) of all maps.

    Operations that allow it run on all maps at once: for small maps, the overhead of an operation dominates.
    """
    batch, channels, _ = cells.shape
    ends = accumulate((height * width for height, width in sizes), initial=0)
    return tuple(
        cells[..., first:end].reshape(batch, channels, *size)
        for (first, end), size in zip(pairwise(ends), sizes, strict=True)
    )


def _pool_coarsest(maps: Maps) -> Maps:
    """The maps with the coarsest averaged, since its predictions are added to those of the pooled map."""
    *finer, coarsest = maps
    return (*finer, coarsest.mean((2, 3), keepdim=True))


def _fine_map_index(spec: Spec, encoder: Encoder) -> int | None:
    """Index of the encoder's map that adds detail to the class map; None if the class map has the anchors' stride."""
    stride = spec.network.segmentation_stride
    if stride == spec.anchors.strides[0]:
        return None
    if stride > spec.anchors.strides[0] or stride not in encoder.strides:
        raise ModelError(
            f"{spec.name}: expected a segmentation_stride of {spec.anchors.strides[0]}, the finest anchors', "
            f"or a finer one of {spec.network.encoder}'s {encoder.strides}, got {stride}"
        )
    return encoder.strides.index(stride)


def _predictors(in_channels: Sequence[int], out_channels: int) -> nn.ModuleList:
    """For each map a depthwise 3x3 and a 1x1; for the pooled one, which has no neighbors, a 1x1 without norm first."""
    last = len(in_channels) - 1
    return nn.ModuleList(
        nn.Sequential(
            depthwise(channels) if index < last else _pooled_conv(channels, channels),
            output_conv(channels, out_channels),
        )
        for index, channels in enumerate(in_channels)
    )


def _pooled_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 with a bias and ReLU6 for the pooled map: one cell per image is too few for a batch norm."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    init_trunc_normal_(conv, 2.0)
    return nn.Sequential(conv, nn.ReLU6())
