"""The paper's networks compute what the original implementation computes, from the same weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from blitznet.core.models import get_spec
from blitznet.core.spec import Resize, Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.convert_weights import convert_weights
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.model_files import network_from
from blitznet.nets.parts import Maps
from support.golden_files import FOLDER, image, variables

NAMES = ["blitznet300-s8", "blitznet300-s4", "blitznet512-s8", "blitznet512-s4"]


def variant(name: str, mode: Resize) -> Spec:
    spec = get_spec(name)
    return replace(spec, network=replace(spec.network, fusion_resize=mode, segmentation_resize="nearest"))


def head_outputs(net: BlitzNet, encoded: Maps, down: Maps) -> dict[str, Tensor]:
    """Outputs by their golden names, from maps that both variants share."""
    assert net.detection is not None
    assert net.segmentation is not None
    up: Maps = net.upscale(down)
    offsets, logits = net.detection(up)
    _, segmentation_logits = net.segmentation(up, encoded)
    return {
        "loc": flatten_predictions(offsets, 4)[0],
        "conf": flatten_predictions(logits, net.detection.num_classes)[0],
        "seg": segmentation_logits[0].permute(1, 2, 0),
    }


def max_difference(output: Tensor, golden: Mapping[str, NDArray[Any]], key: str) -> float:
    """Largest difference of the stored sample, in standard deviations."""
    expected = golden[f"{key}.value"]
    assert list(output.shape) == golden[f"{key}.shape"].tolist()
    actual = output.numpy().ravel()[golden[f"{key}.at"]]
    return float(np.abs(actual - expected).max() / expected.std())


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_outputs_are_those_of_the_original_graph(name: str) -> None:
    tag = name.replace("-", "_")
    spec = variant(name, "legacy")
    state = convert_weights(variables(tag), spec)
    pixels = torch.from_numpy(image(spec.size[0])).permute(0, 3, 1, 2)
    x = (pixels - torch.tensor(spec.mean).view(1, 3, 1, 1)) / torch.tensor(spec.std).view(1, 3, 1, 1)
    legacy = network_from(spec, state, source="golden").eval()
    bilinear = network_from(variant(name, "bilinear"), state, source="golden").eval()
    encoded: Maps = legacy.encoder(x)
    down: Maps = legacy.downscale(encoded)
    with np.load(FOLDER / f"{tag}.npz") as golden:
        for kind, net in (("tf", legacy), ("torch", bilinear)):
            for output_name, output in head_outputs(net, encoded, down).items():
                key = f"{kind}.{output_name}"
                assert max_difference(output, golden, key) < 1e-4, key
                total, spread = float(output.double().sum()), golden[f"{key}.value"].std() * output.numel() ** 0.5
                assert abs(total - golden[f"{key}.sum"]) < 1e-2 * spread, key
