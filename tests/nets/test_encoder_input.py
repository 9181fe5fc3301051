"""Which input a file of ResNet weights expects: Caffe's, the same for RGB, or torchvision's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.nets.encoder_input import CAFFE, CAFFE_RGB, TORCHVISION, find_input, match_input
from support import synthetic_data

SPEC = get_spec("blitznet300-s8")
TORCHVISION_SPEC = replace(SPEC, network=replace(SPEC.network, encoder="resnet50"))
MEAN_BGR = torch.tensor([103.062623801, 115.902882574, 123.151630838]).view(1, 3, 1, 1)


def images() -> Tensor:
    """(B, 3, H, W) RGB 0..255: smoothed drawings, other images than those that the file is measured on."""
    drawn = np.stack([drawing.image for drawing in synthetic_data.draw(4, size=(160, 160), seed=8)])
    return F.avg_pool2d(torch.from_numpy(drawn).permute(0, 3, 1, 2).float(), 5, 1, 2)


def inputs() -> dict[str, Tensor]:
    rgb = images()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    caffe = rgb.flip(1) - MEAN_BGR
    return {CAFFE: caffe, CAFFE_RGB: caffe.flip(1) / 255, TORCHVISION: (rgb / 255 - mean) / std}


def trained_state(name: str, *, merged: bool = False) -> dict[str, Tensor]:
    """Kernels and the statistics of their outputs for an input; merged: as a scale beside statistics of 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(64, 3, 7, 7, generator=generator) * torch.rand(64, 1, 1, 1, generator=generator)
    kernel = kernel / 255 if name == CAFFE else kernel
    outputs = F.conv2d(inputs()[name], kernel, stride=2, padding=3)
    mean, variance = outputs.mean((0, 2, 3)), outputs.var((0, 2, 3))
    gamma = 0.2 + torch.rand(64, generator=generator)
    if merged:
        scale = gamma / variance.sqrt()
        return _state(kernel, torch.zeros(64), torch.ones(64), scale)
    return _state(kernel, mean, variance, gamma)


def _state(kernel: Tensor, mean: Tensor, variance: Tensor, scale: Tensor) -> dict[str, Tensor]:
    return {"conv1.weight": kernel, "bn1.running_mean": mean, "bn1.running_var": variance, "bn1.weight": scale}


@pytest.mark.parametrize("name", [CAFFE, CAFFE_RGB, TORCHVISION])
def test_the_statistics_determine_the_input(name: str) -> None:
    assert find_input(trained_state(name)) == name


@pytest.mark.parametrize(("name", "expected"), [(CAFFE, CAFFE), (CAFFE_RGB, None), (TORCHVISION, None)])
def test_merged_statistics_determine_the_scale(name: str, expected: str | None) -> None:
    assert find_input(trained_state(name, merged=True)) == expected


def test_a_converted_kernel_computes_the_same_from_normalized_rgb() -> None:
    state = trained_state(CAFFE)
    converted = match_input(state, SPEC)
    expected = F.conv2d(inputs()[CAFFE], state["conv1.weight"], stride=2, padding=3)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (SPEC.mean, SPEC.std))
    actual = F.conv2d((images() / 255 - mean) / std, converted["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)
    assert converted.keys() == state.keys()
    assert converted["bn1.running_var"] is state["bn1.running_var"]


def test_fitting_and_untrained_weights_are_unchanged() -> None:
    untrained = _state(torch.randn(64, 3, 7, 7), torch.zeros(64), torch.ones(64), torch.ones(64))
    for state, spec in (
        (trained_state(CAFFE_RGB), SPEC),
        (trained_state(TORCHVISION), TORCHVISION_SPEC),
        (untrained, SPEC),
        ({"stem.weight": torch.zeros(3)}, SPEC),
    ):
        matched = match_input(state, spec)
        assert all(matched[name] is value for name, value in state.items())


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (TORCHVISION, SPEC, r"expected Caffe's ResNet-50, got one for torchvision's input; use --encoder resnet50$"),
        (CAFFE, TORCHVISION_SPEC, r"torchvision's resnet50, got one for the input Caffe's .*--encoder resnet50-caffe"),
        (CAFFE_RGB, TORCHVISION_SPEC, r"torchvision's resnet50, got one for the input RGB.*--encoder resnet50-caffe"),
    ],
)
def test_another_resnet_is_refused(name: str, spec: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        match_input(trained_state(name), spec)  # type: ignore[arg-type] # a Spec
