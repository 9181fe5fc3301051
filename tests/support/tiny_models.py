"""The smallest complete networks: an encoder of three convolutions and two anchor strides, in both families."""

from dataclasses import replace

from torch import Tensor, nn

from blitznet.core.models import MODELS, blitznet300_s8
from blitznet.core.spec import AnchorLayout, Network, Spec
from blitznet.nets.blocks import convolution
from blitznet.nets.encoder import ENCODERS
from blitznet.nets.parts import Encoder, Maps
from support import synthetic_data


class TinyEncoder(Encoder):
    """(B, 3, S, S) -> maps at strides 4, 8, 16 of 8 and 16 channels."""

    out_channels = (8, 8, 16)
    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 8, 3, 4), nn.BatchNorm2d(8))
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(8, out_channels, 3, 2), nn.BatchNorm2d(out_channels))
            for out_channels in self.out_channels[1:]
        )

    def forward(self, images: Tensor) -> Maps:
        maps = [self.stem(images).relu()]
        for stage in self.levels:
            maps.append(stage(maps[-1]).relu())
        return tuple(maps)


PAPER = replace(
    blitznet300_s8(),
    name="tiny",
    classes=synthetic_data.NAMES,
    size=(64, 64),
    anchors=AnchorLayout(strides=(8, 16), min_scale=0.2, second_scale=0.4, max_scale=0.9),
    network=Network(
        family="blitznet", encoder="tiny", extra_levels=1, channels=12, hidden_channels=8, segmentation_channels=4
    ),
)
LITE = replace(PAPER, name="tiny-lite", network=replace(PAPER.network, family="lite", segmentation_stride=4))


def register() -> None:
    """Register the encoder and the models `tiny` and `tiny-lite` in this process."""
    ENCODERS["tiny"] = TinyEncoder
    MODELS["tiny"] = lambda: PAPER
    MODELS["tiny-lite"] = lambda: LITE


def specs() -> tuple[Spec, Spec]:
    """The specs of both models, registered."""
    register()
    return PAPER, LITE
