"""A network of four convolutions that fits the small spec, and variants of that spec."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from blitznet.core.calibration import PlattScaling
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.nets.parts import HeadOutputs
from support.fake_engines import SPEC

CHANNELS = 8

NMS_SPEC = replace(
    SPEC,
    postprocess=PostprocessConfig(score_threshold=0.3, max_per_class=4, max_detections=8),
    score_calibration=PlattScaling(1.5, -0.2),
)
"""few boxes, so that a graph with NMS is small; scores are calibrated"""
DETECTION_SPEC = replace(SPEC, tasks=("detection",))
SEGMENTATION_SPEC = replace(SPEC, tasks=("segmentation",))


class SmallNetwork(nn.Module):
    """Pools the image to each map of the spec's anchors and predicts by 1x1 convolutions."""

    def __init__(self, spec: Spec = SPEC) -> None:
        super().__init__()
        anchors_per_cell = spec.anchors.num_anchors_per_cell
        self.tasks = spec.tasks
        self.stem = nn.Conv2d(3, CHANNELS, 4, stride=4)
        self.offsets = nn.Conv2d(CHANNELS, anchors_per_cell * 4, 1)
        self.logits = nn.Conv2d(CHANNELS, anchors_per_cell * spec.num_channels, 1)
        self.segmentation = nn.Conv2d(CHANNELS, spec.num_channels, 1)

    def forward(self, images: Tensor) -> HeadOutputs:
        features = self.stem(images * 2 - 1).relu()  # (B, D, 16, 12)
        maps = [nn.functional.avg_pool2d(features, size) for size in ((4, 4), (8, 6), (16, 12))]
        detection = "detection" in self.tasks
        return HeadOutputs(
            offsets=_flatten(self.offsets, maps, 4) if detection else None,
            logits=_flatten(self.logits, maps) if detection else None,
            segmentation_logits=self.segmentation(features) if "segmentation" in self.tasks else None,
        )


def _flatten(head: nn.Conv2d, maps: list[Tensor], values: int | None = None) -> Tensor:
    """(B, A, values) of a head on all maps."""
    last = values or head.out_channels // SPEC.anchors.num_anchors_per_cell
    return torch.cat([head(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, last)) for x in maps], 1)


def small_network(spec: Spec = SPEC, *, seed: int = 0) -> SmallNetwork:
    """The network with weights large enough for clear scores, none so near 1 that several are equal."""
    torch.manual_seed(seed)
    net = SmallNetwork(spec)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
        for parameter in net.logits.parameters():
            parameter.div_(8)
    return net.eval()
