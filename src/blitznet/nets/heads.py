"""The two heads: boxes and their classes on every map, a class map of all maps together (paper 3.4)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from blitznet.core.spec import Resize
from blitznet.nets.blocks import init_normal_, init_xavier_
from blitznet.nets.parts import Detection, Maps, Segmentation
from blitznet.nets.resize import resize


class DetectionHead(Detection):
    """Two 3x3 convolutions on each map, weights of its own: offsets and class logits. No norm, no ReLU."""

    def __init__(self, channels: Sequence[int], *, per_cell: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.offsets = nn.ModuleList(_biased(wide, per_cell * 4, 3, _begin_small) for wide in channels)
        self.logits = nn.ModuleList(_biased(wide, per_cell * classes, 3, _begin_small) for wide in channels)

    def forward(self, maps: Maps) -> tuple[Maps, Maps]:
        """Offsets (B, P * 4, h, w) and logits (B, P * C, h, w) of each map."""
        return each(self.offsets, maps), each(self.logits, maps)

    def class_layers(self) -> tuple[nn.Conv2d, ...]:
        """The class convolution of each map."""
        return tuple(convolutions(self.logits))


class SegmentationHead(Segmentation):
    """Each map to a few channels, all resized to the finest, joined, and one 3x3 to the classes."""

    def __init__(self, channels: Sequence[int], *, width: int, classes: int, how: Resize) -> None:
        super().__init__()
        self.how = how
        self.reduce = nn.ModuleList(_biased(wide, width, 1, init_xavier_) for wide in channels)
        self.classifier = _biased(width * len(channels), classes, 3, init_xavier_)

    def features(self, maps: Maps, encoded: Maps) -> Tensor:  # noqa: ARG002 - lighter heads take detail from it
        """All maps side by side (B, D, h, w), at the finest one's size."""
        size = (maps[0].shape[-2], maps[0].shape[-1])
        reduced = [resize(conv(x).relu(), size, self.how) for conv, x in zip(self.reduce, maps, strict=True)]
        return torch.cat(reduced, 1)


def convolutions(layers: Iterable[nn.Module]) -> Iterator[nn.Conv2d]:
    """The same layers, known to be convolutions."""
    for layer in layers:
        assert isinstance(layer, nn.Conv2d)
        yield layer


def each(layers: Iterable[nn.Module], maps: Maps) -> Maps:
    """What each layer says of its map."""
    return tuple(layer(x) for layer, x in zip(layers, maps, strict=True))


def rows(maps: Maps, values: int) -> Tensor:
    """Maps (B, P * values, h, w) -> (B, A, values) in the order of the anchors: map, row, column, anchor."""
    return torch.cat([x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values) for x in maps], 1)


def _begin_small(conv: nn.Conv2d) -> None:
    init_normal_(conv, 0.1)


def _biased(wide_in: int, wide_out: int, kernel: int, begin: Callable[[nn.Conv2d], None]) -> nn.Conv2d:
    conv = nn.Conv2d(wide_in, wide_out, kernel, padding=kernel // 2)
    begin(conv)
    return conv
