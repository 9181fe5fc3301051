"""The light network: BlitzNet's streams and heads of depthwise-separable pieces, on SSDLite's trunk.

The way through is the paper's (figures 2 and 3); only the blocks are lighter, and the class map takes
its fine detail from a thin map of the encoder instead of a finer upscale stream.
"""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.spec import ALL_TASKS, Fusion, Network, Spec
from blitznet.nets.blocks import init_normal_
from blitznet.nets.efficientnet import EfficientNetLite
from blitznet.nets.encoder import make_encoder
from blitznet.nets.fusion import FusionBlock
from blitznet.nets.heads import convolutions, each
from blitznet.nets.mobilenet import LiteConv, LiteDownscale, MobileNetV2, depthwise
from blitznet.nets.parts import (
    Detection,
    DetectionPrior,
    Encoder,
    Maps,
    NetworkParts,
    Segmentation,
    SsdHead,
    Upscale,
    require_boxes_only,
    require_strides,
)
from blitznet.nets.resize import resize
from blitznet.nets.upscale import NoUpscale, UpscaleStream

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "mobilenetv2-ssdlite": MobileNetV2,
    "efficientnet-lite0": EfficientNetLite.lite0,
    "efficientnet-lite2": EfficientNetLite.lite2,
}
"""the light encoders by name; the paper's fit as well"""

_DOUBT = 0.2
"""added to how likely a class is that boxes speak for, before its logarithm is taken"""


def lite(spec: Spec) -> NetworkParts:
    """The parts of a light network, with fresh weights.

    Raises ModelError for an encoder that is not there, and for strides that its maps do not have.
    """
    network, count = spec.network, len(spec.anchors.strides)
    encoder = _encoder(network)
    downscale = LiteDownscale(encoder, network.extra_levels)
    require_strides(spec, downscale.strides[-count - 1 : -1])
    upscale = LiteUpscale(downscale.channels[-count - 1 :], network)
    detection = LiteDetection(upscale.channels, per_cell=spec.anchors.num_anchors_per_cell, classes=spec.num_channels)
    segmentation = LiteSegmentation(upscale.channels, spec, encoder) if "segmentation" in spec.tasks else None
    side = LiteSsdHead(
        downscale.channels[-count:],
        per_cell=spec.anchors.num_anchors_per_cell,
        classes=spec.num_channels,
        offsets=network.ssd_box_head,
    )
    return NetworkParts(
        encoder,
        downscale,
        upscale,
        detection if "detection" in spec.tasks else None,
        segmentation,
        side if network.ssd_head and "detection" in spec.tasks else None,
        LiteDetectionPrior(upscale.channels, network, per_cell=spec.anchors.num_anchors_per_cell)
        if _guided(spec)
        else None,
    )


def ssd_lite(spec: Spec) -> NetworkParts:
    """The parts of the baseline: the same predictors straight on the downscale stream, boxes only."""
    require_boxes_only(spec)
    encoder, count = _encoder(spec.network), len(spec.anchors.strides)
    downscale = LiteDownscale(encoder, spec.network.extra_levels)
    require_strides(spec, downscale.strides[-count:])
    upscale = NoUpscale(downscale.channels[-count:])
    detection = LiteDetection(upscale.channels, per_cell=spec.anchors.num_anchors_per_cell, classes=spec.num_channels)
    return NetworkParts(encoder, downscale, upscale, detection, None)


def _encoder(network: Network) -> Encoder:
    return ENCODERS.get(network.encoder, lambda: make_encoder(network.encoder))()


class LiteResSkip(FusionBlock):
    """ReLU(h + bottleneck(concat[u, skip])), the bottleneck's 3x3 depthwise."""

    def __init__(self, wide_x: int, wide_skip: int, network: Network) -> None:
        super().__init__(wide_x, network.channels, network.fusion_resize)
        self.residual = _bottleneck(wide_x + wide_skip, network)

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:
        """The sum of h and the residual."""
        residual: Tensor = self.residual(torch.cat([u, skip], 1))
        return (h + residual).relu()


class LiteResSkipPlain(LiteResSkip):
    """The same without its residual connection."""

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - h is only pooled
        """The bottleneck alone."""
        joined: Tensor = self.residual(torch.cat([u, skip], 1))
        return joined.relu()


class LiteHourglass(FusionBlock):
    """ReLU(h + a residual unit of the skip)."""

    def __init__(self, wide_x: int, wide_skip: int, network: Network) -> None:
        super().__init__(wide_x, network.channels, network.fusion_resize)
        same = wide_skip == network.channels
        self.residual = _bottleneck(wide_skip, network)
        self.shortcut = nn.Identity() if same else LiteConv(wide_skip, network.channels, activation=nn.Identity)

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - only its projection is summed
        """The sum of h and the skip's unit."""
        unit: Tensor = self.residual(skip) + self.shortcut(skip)
        return (h + unit).relu()


class LiteRefine(FusionBlock):
    """A separable 3x3 of concat[u, a separable 3x3 of the skip]."""

    def __init__(self, wide_x: int, wide_skip: int, network: Network) -> None:
        super().__init__(wide_x, network.channels, network.fusion_resize)
        self.adapt = _separable(wide_skip, network.channels)
        self.merge = _separable(wide_x + network.channels, network.channels)

    def fuse(self, u: Tensor, h: Tensor, skip: Tensor) -> Tensor:  # noqa: ARG002 - h is only pooled
        """The merged map."""
        merged: Tensor = self.merge(torch.cat([u, self.adapt(skip)], 1))
        return merged


_FUSIONS: dict[Fusion, type[LiteResSkip] | type[LiteHourglass] | type[LiteRefine]] = {
    "resskip": LiteResSkip,
    "resskip-plain": LiteResSkipPlain,
    "hourglass": LiteHourglass,
    "refine": LiteRefine,
}


class LiteUpscale(UpscaleStream):
    """The upscale stream of light fusion blocks; the way through it is the paper's."""

    def __init__(self, channels: Sequence[int], network: Network) -> None:
        Upscale.__init__(self)  # the paper's own blocks are not wanted
        *skips, deepest = channels
        self.channels = (network.channels,) * len(channels)
        sources = (*(network.channels,) * (len(skips) - 1), deepest)
        block = _FUSIONS[network.fusion]
        self.blocks = nn.ModuleList(block(x, skip, network) for x, skip in zip(sources, skips, strict=True))


class LiteDetection(Detection):
    """On each map, weights of its own: depthwise 3x3, then 1x1 to offsets, and the same to class logits."""

    def __init__(self, channels: Sequence[int], *, per_cell: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.offsets = _predictors(channels, per_cell * 4)
        self.logits = _predictors(channels, per_cell * classes)
        for final in self.class_layers():
            assert final.bias is not None
            # 3 of 4 anchors learned from are background (3:1 mining): the first guess says so.
            nn.init.zeros_(final.bias).view(per_cell, classes)[:, 0].data.fill_(math.log(3 * (classes - 1)))

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and logits (B, P * C, h, w) of each map."""
        return each(self.offsets, maps), each(self.logits, maps)

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The 1x1 to the classes of each map."""
        return tuple(convolutions(predictor.get_submodule("1") for predictor in self.logits))


class LiteSsdHead(SsdHead):
    """SSDLite's predictors on the downscale stream: on each map a depthwise 3x3, then 1x1 to class logits.

    With `offsets` its box predictors too, made alike.

    The finest map that predicts has no predictor of its own there: it takes what the next coarser one says in its
    place, by a 1x1 of its own. The pooled one has the mean over the coarsest.
    """

    def __init__(self, channels: Sequence[int], *, per_cell: int, classes: int, offsets: bool = False) -> None:
        super().__init__()
        self.classes = classes
        self.features = nn.ModuleList(depthwise(wide) for wide in channels)
        self.logits = nn.ModuleList(_final(wide, per_cell * classes) for wide in channels)
        self.finest_logits = _final(channels[0], per_cell * classes)
        boxes = channels if offsets else ()
        self.offsets = nn.ModuleList(nn.Sequential(depthwise(wide), _final(wide, per_cell * 4)) for wide in boxes)

    def forward(self, down: Maps, up: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) of each map but the finest, or none; logits (B, P * C, h, w) of each."""
        maps = down[-len(self.features) :]
        seen = each(self.features, maps)
        finest = resize(self.finest_logits(seen[0]), (up[0].shape[-2], up[0].shape[-1]), "nearest")
        offsets = _last_pooled(each(self.offsets, maps)) if len(self.offsets) else ()
        return offsets, (finest, *_last_pooled(each(self.logits, seen)))

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The 1x1 to the classes of each map."""
        return tuple(convolutions((self.finest_logits, *self.logits)))


class LiteSegmentation(Segmentation):
    """All maps, reduced and joined on the finest one's grid; then, if wanted, detail of a thin encoder map.

    Nearly all of the work is done at the finest predicting map's stride (8); at stride 4 there are only a
    projection of the encoder's map, one depthwise convolution and the classes. What the upscale stream carries is
    made for boxes: with taps the head looks at the encoder's two coarsest maps itself.
    """

    def __init__(self, channels: Sequence[int], spec: Spec, encoder: Encoder) -> None:
        super().__init__()
        network = spec.network
        self.how = network.segmentation_resize
        self.fine_index = _tap(spec, encoder)
        width, thin = network.segmentation_channels, network.hidden_channels
        self.reduce = nn.ModuleList(
            [*(LiteConv(wide, width, activation=nn.ReLU) for wide in channels[:-1]), _biased(channels[-1], width)]
        )
        self.fuse = nn.Sequential(
            LiteConv(width * len(channels), network.channels, activation=nn.ReLU),
            depthwise(network.channels, 5),
            LiteConv(network.channels, thin, activation=nn.ReLU if self.fine_index is None else nn.Identity),
        )
        hidden = network.lateral_channels or 0
        coarsest = encoder.channels[-2:] if hidden else ()
        self.laterals = nn.ModuleList(_Lateral(channels, hidden, network.channels) for channels in coarsest)
        self.residual_block = _Block(network.channels) if coarsest else nn.Identity()
        if self.fine_index is not None:
            self.fine_lateral = LiteConv(encoder.channels[self.fine_index], thin, activation=nn.Identity)
            self.smooth = depthwise(thin)
        self.classifier = nn.Conv2d(thin, spec.num_channels, 1)
        init_normal_(self.classifier, 0.1)

    def features(self, maps: Maps, encoded: Maps) -> Tensor:
        """(B, D, h, w) at the tapped map's size, or the finest predicting map's without a tap."""
        size = (maps[0].shape[-2], maps[0].shape[-1])
        reduced = [resize(reduce(x), size, self.how) for reduce, x in zip(self.reduce, maps, strict=True)]
        joined, spread, narrow = self.fuse
        x: Tensor = joined(torch.cat(reduced, 1))
        for tap, coarse in zip(self.laterals, encoded[len(encoded) - len(self.laterals) :], strict=True):
            x = x + resize(tap(coarse), size, "bilinear")
        x = narrow(self.residual_block(spread(x)))
        if self.fine_index is not None:
            fine = encoded[self.fine_index]
            x = resize(x, (fine.shape[-2], fine.shape[-1]), self.how)
            x = self.smooth((x + self.fine_lateral(fine)).relu())
        return x


class _Lateral(nn.Sequential):
    """An encoder's map, reduced, to be added to the joined maps; nothing at first, so that it can be put in later."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        last = nn.Conv2d(hidden_channels, out_channels, 1, bias=False)
        nn.init.zeros_(last.weight)
        super().__init__(LiteConv(in_channels, hidden_channels, activation=nn.ReLU), last)


class _Block(nn.Module):
    """x + an inverted bottleneck of it with a depthwise 5x5; x alone at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = LiteConv(2 * width, width, activation=nn.Identity)
        nn.init.zeros_(last.norm.weight)
        self.residual = nn.Sequential(LiteConv(width, 2 * width), depthwise(2 * width, 5), last)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        residual: Tensor = self.residual(x)
        return x + residual


class LiteDetectionPrior(DetectionPrior):
    """By how much a cell's anchors prefer a class to background, where the head's features see an object's pixels.

    What tells objects from background, and on which map they are found, is the same for all classes: so a class
    that was learned from boxes alone, or from hardly a mask, is painted as well as the others' masks teach. And a
    class that no box of the image speaks for is hardly in it: its pixels are more likely another's.
    """

    def __init__(self, channels: Sequence[int], network: Network, *, per_cell: int) -> None:
        super().__init__()
        self.per_cell = per_cell
        self.presence = network.image_prior_weight
        self.level_weights = nn.Conv2d(channels[0], len(channels), 1)
        self.foreground_gate = nn.Conv2d(network.hidden_channels, 1, 1)
        for conv, often in ((self.level_weights, 0.0), (self.foreground_gate, -2.0)):
            init_normal_(conv, 0.1)
            assert conv.bias is not None
            nn.init.constant_(conv.bias, often)

    def forward(self, logits: Tensor, up: Maps, features: Tensor) -> Tensor:
        """(B, C, h, w) of logits (B, A, C); boxes do not learn from it, for masks would bend their scores."""
        sizes = [(x.shape[-2], x.shape[-1]) for x in up]
        margins = self._margins(logits.detach())
        shares, total = self.level_weights(up[0]).sigmoid(), None
        for index, best in enumerate(_split(margins.relu(), sizes)):
            said = shares[:, index : index + 1] * resize(best, sizes[0], "bilinear")
            total = said if total is None else total + said
        assert total is not None
        here: Tensor = self.foreground_gate(features).sigmoid()
        # Boxes are surer of images that they learned from: what suits others would teach masks to lean on them.
        presence = 1.0 if self.training else self.presence
        there = presence * _presence(margins)
        return here * resize(total, (features.shape[-2], features.shape[-1]), "bilinear") + there

    def _margins(self, logits: Tensor) -> Tensor:
        """(B, C, cells): the best margin over background of a cell's anchors."""
        batch, _, channels = logits.shape
        margins = (logits - logits[..., :1]).reshape(batch, -1, self.per_cell, channels)
        return margins.amax(2).transpose(1, 2)


def _split(cells: Tensor, sizes: Sequence[tuple[int, int]]) -> Maps:
    """(B, C, h, w) of each map, of (B, C, cells) of all.

    What can be is done to all maps at once, for runtimes take as long to begin a step as to do it on a small map.
    """
    batch, channels, _ = cells.shape
    ends = accumulate((height * width for height, width in sizes), initial=0)
    return tuple(
        cells[..., first:end].reshape(batch, channels, *size)
        for (first, end), size in zip(pairwise(ends), sizes, strict=True)
    )


def _presence(margins: Tensor) -> Tensor:
    """(B, C, 1, 1) of margins (B, C, cells): the log of how likely each class is anywhere, background as it is.

    A class that no anchor speaks for loses log 6 beside a certain one, however sure the pixels are: no more, for
    there are things that pixels see and anchors do not.
    """
    likely = margins[:, 1:].amax(2).sigmoid()
    return nn.functional.pad((likely + _DOUBT).log(), (1, 0))[..., None, None]


def _last_pooled(maps: Maps) -> Maps:
    """The coarsest as its mean: the map that it stands beside is pooled."""
    *coarser, coarsest = maps
    return (*coarser, coarsest.mean((2, 3), keepdim=True))


def _guided(spec: Spec) -> bool:
    return spec.network.detection_prior and spec.tasks == ALL_TASKS


def _tap(spec: Spec, encoder: Encoder) -> int | None:
    """Which of the encoder's maps gives the class map its detail; none if it has the finest map's stride."""
    stride = spec.network.segmentation_stride
    if stride == spec.anchors.strides[0]:
        return None
    if stride > spec.anchors.strides[0] or stride not in encoder.strides:
        raise ModelError(
            f"{spec.name}: segmentation_stride must be the finest anchors' {spec.anchors.strides[0]} "
            f"or a finer one of {spec.network.encoder}'s {encoder.strides}, got {stride}"
        )
    return encoder.strides.index(stride)


def _bottleneck(inputs: int, network: Network) -> nn.Sequential:
    inner = network.hidden_channels
    return nn.Sequential(
        LiteConv(inputs, inner), depthwise(inner), LiteConv(inner, network.channels, activation=nn.Identity)
    )


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(depthwise(inputs), LiteConv(inputs, outputs, activation=nn.ReLU))


def _predictors(channels: Sequence[int], outputs: int) -> nn.ModuleList:
    """For each map a depthwise 3x3 and a 1x1 to `outputs` channels; for the pooled one no neighbours, no norm."""
    return nn.ModuleList(
        nn.Sequential(depthwise(wide) if index < len(channels) - 1 else _biased(wide, wide), _final(wide, outputs))
        for index, wide in enumerate(channels)
    )


def _biased(inputs: int, outputs: int) -> nn.Sequential:
    """1x1 with a bias and ReLU6, for the pooled map: its one cell an image is too few for a batch norm."""
    conv = nn.Conv2d(inputs, outputs, 1)
    init_normal_(conv, 2.0)
    return nn.Sequential(conv, nn.ReLU6())


def _final(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 1)
    init_normal_(conv, 0.1)
    return conv
