"""A network of three convolutions that fits the small contract."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from blitznet.core.calibration import PlattScaling
from blitznet.core.spec import PostprocessConfig, Spec
from blitznet.nets.parts import Heads
from support.fake_engines import SPEC

DEEP = 8


class Small(nn.Module):
    """Pools the image to each map of the contract's anchors and answers by 1x1 convolutions."""

    def __init__(self, spec: Spec = SPEC) -> None:
        super().__init__()
        anchors = spec.anchors.num_anchors_per_cell
        self.tasks = spec.tasks
        self.stem = nn.Conv2d(3, DEEP, 4, stride=4)
        self.offsets = nn.Conv2d(DEEP, anchors * 4, 1)
        self.logits = nn.Conv2d(DEEP, anchors * spec.num_channels, 1)
        self.class_map = nn.Conv2d(DEEP, spec.num_channels, 1)

    def forward(self, images: Tensor) -> Heads:
        deep = self.stem(images * 2 - 1).relu()  # (B, D, 16, 12)
        maps = [nn.functional.avg_pool2d(deep, side) for side in ((4, 4), (8, 6), (16, 12))]
        boxes = "detection" in self.tasks
        return Heads(
            offsets=_flat(self.offsets, maps, 4) if boxes else None,
            logits=_flat(self.logits, maps, -1) if boxes else None,
            segmentation_logits=self.class_map(deep) if "segmentation" in self.tasks else None,
        )


def _flat(head: nn.Conv2d, maps: list[Tensor], last: int) -> Tensor:
    each = last if last > 0 else head.out_channels // SPEC.anchors.num_anchors_per_cell
    return torch.cat([head(one).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, each)) for one in maps], 1)


def small(spec: Spec = SPEC, *, seed: int = 0) -> Small:
    """The network with weights large enough for clear scores, none so near 1 that several are equal."""
    torch.manual_seed(seed)
    net = Small(spec)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter))
        for parameter in net.logits.parameters():
            parameter.div_(8)
    return net.eval()


BRIEF = replace(
    SPEC,
    postprocess=PostprocessConfig(score_threshold=0.3, max_per_class=4, max_detections=8),
    score_calibration=PlattScaling(1.5, -0.2),
)
"""few passes of suppression, so a small graph; scores are told by a line"""
DETECTION = replace(SPEC, tasks=("detection",))
SEGMENTATION = replace(SPEC, tasks=("segmentation",))
