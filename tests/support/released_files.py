"""The toy network of the files in tests/released. It never changes: files of released versions hold its weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from blitznet.core.arrays import RGBArray
from blitznet.core.models import MODELS, blitznet300_s8
from blitznet.core.spec import AnchorLayout, Network, Spec
from blitznet.nets.encoder import ENCODERS
from blitznet.nets.parts import Encoder, Maps
from blitznet.train.config import TrainConfig
from support import synthetic_data

FOLDER = Path(__file__).parents[1] / "released"
"""archives of the files, `VERSION.tar.xz`"""
STEPS = 4
"""steps of the toy runs"""


class ReleasedEncoder(Encoder):
    """(B, 3, S, S) -> maps at strides 4, 8, 16 of 4, 4 and 8 channels."""

    out_channels = (4, 4, 8)
    strides = (4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels))
            for channels in self.out_channels[1:]
        )

    def forward(self, images: Tensor) -> Maps:
        maps = [self.stem(images).relu()]
        for level in self.levels:
            maps.append(level(maps[-1]).relu())
        return tuple(maps)


def register() -> None:
    """Register the encoder and the model `released` in this process."""
    ENCODERS["released"] = ReleasedEncoder
    MODELS["released"] = released_spec


def released_spec() -> Spec:
    """The spec of the toy network."""
    return replace(
        blitznet300_s8(),
        name="released",
        classes=synthetic_data.NAMES,
        size=(64, 64),
        anchors=AnchorLayout(strides=(8, 16), min_scale=0.2, second_scale=0.4, max_scale=0.9),
        network=Network(
            family="blitznet",
            encoder="released",
            extra_levels=1,
            channels=4,
            hidden_channels=4,
            segmentation_channels=2,
        ),
    )


def images() -> RGBArray:
    """(2, 64, 64, 3) the images whose outputs are stored: a gradient and a checkerboard."""
    rows, columns = np.mgrid[:64, :64]
    gradient = np.stack([rows * 4, columns * 4, rows + columns], -1)
    board = np.repeat(((rows // 8 + columns // 8) % 2 * 255)[..., None], 3, -1)
    return np.stack([gradient, board]).astype(np.uint8)


def write_set() -> str:
    """Write the training set of the toy run into the working folder; its text on the command line."""
    return synthetic_data.write_voc(Path("set"), synthetic_data.draw(4, seed=1))


def run_config(data: str) -> TrainConfig:
    """Options of the toy run, in the folder `run`."""
    return TrainConfig(
        model="released",
        init="random",
        data=(data,),
        steps=STEPS,
        batch=2,
        optimizer="nesterov",
        lr=1e-3,
        policy="plain",
        workers=0,
        threads=1,
        device="cpu",
        save_every=2,
        log_every=1,
        loggers=(),
        out=Path("run"),
    )
