"""Which input a file of ResNet weights expects, and the conversion of its first kernel to the input of a spec.

Files of one shape exist for three inputs: Caffe's (BGR, 0..255 minus a mean), the same network for RGB, 0..1, and
torchvision's (RGB, normalized). Names and shapes are equal, so a wrong one is loaded without an error and computes
noise. The file itself tells them apart: the first batch norm stores the variance of the first convolution's outputs on
natural images, which differs by factors of 16 to 65,025 between the inputs.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.image import ImageSource
from blitznet.core.models import NORMALIZATIONS
from blitznet.core.spec import Spec

CAFFE, CAFFE_RGB, TORCHVISION = "Caffe's (BGR, 0 to 255)", "RGB, 0 to 1, minus Caffe's mean", "torchvision's"
"""the inputs, as messages name them"""
_SAMPLES = Path(__file__).parents[1] / "weights" / "samples"
_IMGSZ = 192
"""height and width of the images on which outputs are measured, pixels"""


def match_input(state: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
    """A ResNet's state dict for the input of a spec.

    Args:
        state: Weights under torchvision's names: `conv1.weight`, `bn1.running_var`, ...
        spec: The spec; its encoder is a ResNet.

    Returns:
        The same weights; the first kernel is converted if the file expects Caffe's input.

    Raises:
        ModelError: The file is of another ResNet: torchvision's in place of Caffe's, or the other way round.
    """
    actual = find_input(state)
    is_caffe = spec.network.encoder == "resnet50-caffe"
    if actual == CAFFE and is_caffe:
        std = torch.tensor(spec.std).view(1, 3, 1, 1)
        return {**state, "conv1.weight": state["conv1.weight"].flip(1) * 255 * std}
    if actual == TORCHVISION and is_caffe:
        raise ModelError(
            "encoder weights: expected Caffe's ResNet-50, got one for torchvision's input; use --encoder resnet50"
        )
    if actual in (CAFFE, CAFFE_RGB) and not is_caffe:
        raise ModelError(
            f"encoder weights: expected torchvision's {spec.network.encoder}, got one for the input {actual}; "
            "use --encoder resnet50-caffe"
        )
    return dict(state)


def find_input(state: Mapping[str, Tensor]) -> str | None:
    """The input that a state dict expects; None if it was not trained, or does not tell.

    Args:
        state: Weights under torchvision's names.
    """
    kernel, variance, scale = (state.get(name) for name in ("conv1.weight", "bn1.running_var", "bn1.weight"))
    if kernel is None or variance is None or scale is None or tuple(kernel.shape[1:]) != (3, 7, 7):
        return None
    errors = {
        name: float((measured / variance.float().clamp(min=1e-12)).log().median().abs())
        for name, measured in _measured_variances(kernel.float()).items()
    }
    if not bool((variance == variance[0]).all()):
        return min(errors, key=lambda name: errors[name])
    if bool((scale == scale[0]).all()):
        return None  # as initialized
    # The statistics were merged into the scale, as in detectron2's files: outputs of the norm have a deviation near 1.
    merged = {
        name: float((measured * scale.float().square()).median().log().abs())
        for name, measured in _measured_variances(kernel.float()).items()
    }
    return CAFFE if merged[CAFFE] < min(merged[CAFFE_RGB], merged[TORCHVISION]) else None


def _measured_variances(kernel: Tensor) -> dict[str, Tensor]:
    """Variance (D,) of the first convolution's outputs on the packaged images, by input."""
    images = [ImageSource(path).resize((_IMGSZ, _IMGSZ)) for path in sorted(_SAMPLES.glob("*.jpg"))]
    rgb = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    normalized = {}
    for name, encoder in ((CAFFE_RGB, "resnet50-caffe"), (TORCHVISION, "resnet50")):
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in NORMALIZATIONS[encoder])
        normalized[name] = (rgb - mean) / std
    normalized[CAFFE] = normalized[CAFFE_RGB].flip(1) * 255
    with torch.no_grad():
        return {name: F.conv2d(x, kernel, stride=2, padding=3).var((0, 2, 3)) for name, x in normalized.items()}
