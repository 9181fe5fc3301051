"""The paper's two heads (3.4): boxes and their classes on every map, a class map from all maps together."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from blitznet.core.spec import Resize
from blitznet.nets.blocks import init_trunc_normal_, init_xavier_
from blitznet.nets.parts import DetectionHead, Maps, SegmentationHead
from blitznet.nets.resize import resize_like


class ConvDetectionHead(DetectionHead):
    """Two 3x3 convolutions on each map, not shared between maps: offsets and class logits. No norm, no ReLU."""

    def __init__(self, in_channels: Sequence[int], *, anchors_per_cell: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.offsets = nn.ModuleList(
            _conv_with_bias(channels, anchors_per_cell * 4, 3, _init_small_) for channels in in_channels
        )
        self.logits = nn.ModuleList(
            _conv_with_bias(channels, anchors_per_cell * num_classes, 3, _init_small_) for channels in in_channels
        )

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and logits (B, P * C, h, w) of each map."""
        return apply_each(self.offsets, maps), apply_each(self.logits, maps)

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The class convolution of each map."""
        return tuple(as_convolutions(self.logits))


class ConvSegmentationHead(SegmentationHead):
    """A 1x1 on each map, all resized to the finest and concatenated, and one 3x3 to the classes."""

    def __init__(self, in_channels: Sequence[int], *, channels_per_map: int, num_classes: int, mode: Resize) -> None:
        super().__init__()
        self.resize_mode = mode
        self.reduce = nn.ModuleList(
            _conv_with_bias(channels, channels_per_map, 1, init_xavier_) for channels in in_channels
        )
        self.classifier = _conv_with_bias(channels_per_map * len(in_channels), num_classes, 3, init_xavier_)

    def features(self, maps: Maps, encoded: Maps) -> Tensor:  # noqa: ARG002 - only light heads use the encoder's maps
        """All maps concatenated (B, D, h, w), at the finest one's size."""
        reduced = [
            resize_like(conv(x).relu(), maps[0], self.resize_mode) for conv, x in zip(self.reduce, maps, strict=True)
        ]
        return torch.cat(reduced, 1)


def as_convolutions(layers: Iterable[nn.Module]) -> Iterator[nn.Conv2d]:
    """The same layers, typed as convolutions."""
    for layer in layers:
        assert isinstance(layer, nn.Conv2d)
        yield layer


def output_conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1x1 to predictions, with a small initialization."""
    conv = nn.Conv2d(in_channels, out_channels, 1)
    init_trunc_normal_(conv, 0.1)
    return conv


def init_class_biases_(layers: Iterable[nn.Conv2d], num_classes: int) -> None:
    """Set biases of class logits (P * C) so that the initial probability of background is 3/4."""
    # Hard negative mining keeps 3 background anchors per object.
    for layer in layers:
        assert layer.bias is not None
        bias = nn.init.zeros_(layer.bias).view(-1, num_classes)
        bias[:, 0].data.fill_(math.log(3 * (num_classes - 1)))


def apply_each(layers: Iterable[nn.Module], maps: Maps) -> Maps:
    """The output of each layer on its map."""
    return tuple(layer(x) for layer, x in zip(layers, maps, strict=True))


def flatten_predictions(maps: Maps, values: int) -> Tensor:
    """Maps (B, P * values, h, w) -> rows (B, A, values) in the order of the anchors: map, row, column, anchor."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values) for x in maps], 1)


def _init_small_(conv: nn.Conv2d) -> None:
    init_trunc_normal_(conv, 0.1)


def _conv_with_bias(in_channels: int, out_channels: int, kernel: int, init: Callable[[nn.Conv2d], None]) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    init(conv)
    return conv
