"""The light network on a feature pyramid: the same parts as `lite`, of fewer and larger operations.

The upscale stream is a feature pyramid of sums (Lin et al. 2017) with depthwise convolutions. It begins at stride 64;
on coarser maps there is too little to fuse. One head predicts from both streams: its layers on the downscale stream
are SSDLite's, so the network can start as that detector. The segmentation head sums the pyramid and the encoder's
maps, and adds context at stride 16, where it costs little.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import Resize, Spec
from blitznet.nets.blocks import init_trunc_normal_
from blitznet.nets.heads import apply_each, as_convolutions, init_class_biases_, output_conv
from blitznet.nets.image_prior import ImagePrior
from blitznet.nets.lite import make_lite_encoder
from blitznet.nets.mobilenet import LiteConv, LiteDownscale, depthwise, linear, separable
from blitznet.nets.parts import DetectionHead, Encoder, Maps, NetworkParts, SegmentationHead, Upscale, require_strides
from blitznet.nets.resize import resize_like

PYRAMID_LEVELS = 3
"""maps of the pyramid: those at strides 8, 16 and 32; the next coarser map is its source"""
_CONTEXT_EXPANSION = 2


def lite_fpn(spec: Spec) -> NetworkParts:
    """The parts of the network, randomly initialized.

    Raises:
        ModelError: The encoder is unknown, or its maps or the class map do not have the strides of the spec.
    """
    network, count = spec.network, len(spec.anchors.strides)
    encoder = make_lite_encoder(network)
    downscale = LiteDownscale(encoder, network.extra_levels)
    require_strides(spec, downscale.strides[-count - 1 : -1])
    if count < PYRAMID_LEVELS + 1:
        raise ModelError(f"{spec.name}: expected {PYRAMID_LEVELS + 1} or more anchor strides, got {count}")
    if encoder.strides[-PYRAMID_LEVELS:] != spec.anchors.strides[:PYRAMID_LEVELS]:
        raise ModelError(
            f"{spec.name}: expected anchors that begin at the strides {encoder.strides[-PYRAMID_LEVELS:]} of "
            f"{network.encoder}, got {spec.anchors.strides}"
        )
    if network.segmentation_stride != spec.anchors.strides[0]:
        raise ModelError(
            f"{spec.name}: expected a segmentation_stride of {spec.anchors.strides[0]}, the finest anchors', "
            f"got {network.segmentation_stride}"
        )
    channels = downscale.out_channels[-count - 1 :]
    pyramid = FeaturePyramid(channels, network.channels, network.fusion_resize)
    # The heads are built even if the spec does not have them: random initialization then does not depend on the tasks.
    detection = FpnDetectionHead(
        network.channels,
        channels[1:],
        anchors_per_cell=spec.anchors.num_anchors_per_cell,
        num_classes=spec.num_channels,
    )
    segmentation = FpnSegmentationHead(spec, encoder)
    return NetworkParts(
        encoder,
        downscale,
        pyramid,
        detection if "detection" in spec.tasks else None,
        segmentation if "segmentation" in spec.tasks else None,
        detection_prior=ImagePrior(network.image_prior_weight) if network.detection_prior else None,
    )


class FeaturePyramid(Upscale):
    """A top-down pathway of sums. Returns its three maps, then the downscale stream's from stride 16 on.

    The pyramid's maps are at strides 8, 16 and 32; those of the downscale stream are what the head of the same level
    reads besides.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, mode: Resize) -> None:
        """Args: channels of the downscale stream's maps from stride 8 on; those of the pyramid; the resizing."""
        super().__init__()
        self.resize_mode = mode
        self.out_channels = (*(channels,) * PYRAMID_LEVELS, *in_channels[1:])
        # Finest first, like the maps; forward runs them from the last to the first.
        self.laterals = nn.ModuleList(linear(width, channels) for width in in_channels[: PYRAMID_LEVELS + 1])
        self.smooth = nn.ModuleList(separable(channels, channels) for _ in range(PYRAMID_LEVELS))

    def forward(self, maps: Maps) -> Maps:
        """(B, D, h, w): the pyramid's maps, finest first, then the down ones from stride 16 on."""
        down = pool_coarsest(maps[-(len(self.out_channels) - PYRAMID_LEVELS) - 1 :])
        x = self.laterals[PYRAMID_LEVELS](down[PYRAMID_LEVELS])
        fused: list[Tensor] = []
        for level in reversed(range(PYRAMID_LEVELS)):
            lateral = self.laterals[level](down[level])
            x = self.smooth[level]((resize_like(x, lateral, self.resize_mode) + lateral).relu())
            fused.insert(0, x)
        return (*fused, *down[1:])


class FpnDetectionHead(DetectionHead):
    """On each level depthwise convolutions of the pyramid's and of the downscale stream's map, then 1x1 of both.

    The finest level has no map of the downscale stream, the coarsest have none of the pyramid.
    """

    def __init__(self, channels: int, down_channels: Sequence[int], *, anchors_per_cell: int, num_classes: int) -> None:
        """Args: channels of the pyramid; of the downscale stream's maps from the second level on."""
        super().__init__()
        self.num_classes = num_classes
        self.pyramid_features = nn.ModuleList(depthwise(channels) for _ in range(PYRAMID_LEVELS))
        self.class_features = nn.ModuleList(depthwise(width) for width in down_channels)
        self.box_features = nn.ModuleList(depthwise(width) for width in down_channels)
        widths = [
            (channels if level < PYRAMID_LEVELS else 0) + (down_channels[level - 1] if level else 0)
            for level in range(len(down_channels) + 1)
        ]
        self.logits = nn.ModuleList(output_conv(width, anchors_per_cell * num_classes) for width in widths)
        self.offsets = nn.ModuleList(output_conv(width, anchors_per_cell * 4) for width in widths)
        init_class_biases_(self.class_layers(), num_classes)

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and logits (B, P * C, h, w) of each level."""
        pyramid = apply_each(self.pyramid_features, maps[:PYRAMID_LEVELS])
        classes = apply_each(self.class_features, maps[PYRAMID_LEVELS:])
        boxes = apply_each(self.box_features, maps[PYRAMID_LEVELS:])
        return apply_each(self.offsets, _join(boxes, pyramid)), apply_each(self.logits, _join(classes, pyramid))

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The 1x1 to the classes of each level."""
        return tuple(as_convolutions(self.logits))


class FpnSegmentationHead(SegmentationHead):
    """Sums of the pyramid's and the encoder's maps; context at stride 16, classes at stride 8."""

    def __init__(self, spec: Spec, encoder: Encoder) -> None:
        super().__init__()
        network = spec.network
        channels, self.resize_mode = network.channels, network.segmentation_resize
        self.coarse_lateral = linear(encoder.out_channels[-1], channels)
        self.middle_laterals = nn.ModuleList(linear(width, channels) for width in (channels, encoder.out_channels[-2]))
        self.context = nn.ModuleList(_Bottleneck(channels) for _ in range(network.context_blocks))
        self.fine_lateral = linear(channels, channels)
        self.fuse = nn.Sequential(depthwise(channels), LiteConv(channels, channels, activation=nn.ReLU))
        self.classifier = nn.Conv2d(channels, spec.num_channels, 1)
        init_trunc_normal_(self.classifier, 0.1)

    def features(self, maps: Maps, encoded: Maps) -> Tensor:
        """(B, D, h, w) at the size of the pyramid's finest map."""
        fine, middle = maps[:2]
        from_pyramid, from_encoder = self.middle_laterals
        coarse = resize_like(self.coarse_lateral(encoded[-1]), middle, self.resize_mode)
        x = (coarse + from_pyramid(middle) + from_encoder(encoded[-2])).relu()
        for block in self.context:
            x = block(x)
        x = (resize_like(x, fine, self.resize_mode) + self.fine_lateral(fine)).relu()
        out: Tensor = self.fuse(x)
        return out


class _Bottleneck(nn.Module):
    """x plus an inverted bottleneck of x with a depthwise 3x3. The bottleneck is zero-initialized."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = _CONTEXT_EXPANSION * channels
        last = linear(hidden, channels)
        nn.init.zeros_(last.norm.weight)
        self.residual = nn.Sequential(LiteConv(channels, hidden), depthwise(hidden), last)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of x and the bottleneck, at least 0."""
        residual: Tensor = self.residual(x)
        return (x + residual).relu()


def pool_coarsest(maps: Maps) -> Maps:
    """The maps with the coarsest averaged to 1x1, if it is larger."""
    *finer, coarsest = maps
    return maps if coarsest.shape[2:] == (1, 1) else (*finer, coarsest.mean((2, 3), keepdim=True))


def _join(down: Maps, pyramid: Maps) -> Maps:
    """The features of each level: the pyramid's, both streams', and then the downscale stream's."""
    both = tuple(torch.cat(pair, 1) for pair in zip(pyramid[1:], down, strict=False))
    return (pyramid[0], *both, *down[len(both) :])
