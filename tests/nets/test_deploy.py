from dataclasses import replace

import numpy as np
import pytest
import torch

from blitznet.core.models import NORMALIZATIONS
from blitznet.core.spec import ALL_TASKS, Task
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.deploy import Deployed, normalize, output_names
from blitznet.nets.parts import NetworkParts
from blitznet.nets.torch_engine import TorchEngine
from support.small_networks import small_spec


def random_images(count: int, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def test_normalize_uses_mean_and_std_of_the_spec() -> None:
    mean, std = NORMALIZATIONS["resnet50"]
    spec = replace(small_spec(), mean=mean, std=std)
    images = random_images(2, 4, 5)
    normalized = normalize(torch.from_numpy(images).permute(0, 3, 1, 2), spec).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(normalized, (images / 255 - mean) / std, atol=1e-6)


@pytest.fixture(scope="module")
def full() -> BlitzNet:
    return build(small_spec())


@pytest.mark.parametrize("tasks", [ALL_TASKS, ("detection",), ("segmentation",)])
def test_torch_engine_returns_the_outputs_of_the_network(full: BlitzNet, tasks: tuple[Task, ...]) -> None:
    spec = replace(small_spec(), tasks=tasks)
    detection = full.detection if "detection" in tasks else None
    segmentation = full.segmentation if "segmentation" in tasks else None
    net = BlitzNet(NetworkParts(full.encoder, full.downscale, full.upscale, detection, segmentation))
    images = random_images(2, 64, 48)
    outputs = TorchEngine(net, spec).run(images)
    with torch.no_grad():
        expected_outputs = net.eval()(normalize(torch.from_numpy(images).permute(0, 3, 1, 2), spec))
    for name in ("offsets", "logits", "segmentation_logits"):
        expected, actual = getattr(expected_outputs, name), getattr(outputs, name)
        assert (actual is None) == (expected is None) == (name not in output_names(spec))
        if actual is not None:
            np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)


def test_deployed_can_be_exported(full: BlitzNet) -> None:
    deployed = Deployed(full, small_spec()).eval()
    images = torch.from_numpy(random_images(1, 64, 64))
    program = torch.export.export(deployed, (images,))
    for actual, expected in zip(program.module()(images), deployed(images), strict=True):
        torch.testing.assert_close(actual, expected)
