from dataclasses import replace

import numpy as np
import pytest
import torch

from blitznet.core.models import NORMALIZATIONS
from blitznet.core.spec import ALL_TASKS, Task
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.deploy import Deployed, normalize, output_names
from blitznet.nets.torch_engine import TorchEngine
from support.small_networks import small_spec


def random_images(count: int, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def test_normalise_is_the_contracts() -> None:
    mean, std = NORMALIZATIONS["resnet50"]
    spec = replace(small_spec(), mean=mean, std=std)
    images = random_images(2, 4, 5)
    given = normalize(torch.from_numpy(images).permute(0, 3, 1, 2), spec).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(given, (images / 255 - mean) / std, atol=1e-6)


@pytest.fixture(scope="module")
def whole() -> BlitzNet:
    return build(small_spec())


@pytest.mark.parametrize("tasks", [ALL_TASKS, ("detection",), ("segmentation",)])
def test_engine_answers_what_the_network_says(whole: BlitzNet, tasks: tuple[Task, ...]) -> None:
    spec = replace(small_spec(), tasks=tasks)
    heads_of = (
        whole.detection if "detection" in tasks else None,
        whole.segmentation if "segmentation" in tasks else None,
    )
    net = BlitzNet(whole.encoder, whole.downscale, whole.upscale, *heads_of)
    images = random_images(2, 64, 48)
    outputs = TorchEngine(net, spec).run(images)
    with torch.no_grad():
        heads = net.eval()(normalize(torch.from_numpy(images).permute(0, 3, 1, 2), spec))
    for name in ("offsets", "logits", "class_map"):
        expected, actual = getattr(heads, name), getattr(outputs, name)
        assert (actual is None) == (expected is None) == (name not in output_names(spec))
        if actual is not None:
            np.testing.assert_allclose(actual, expected.numpy(), atol=1e-5)


def test_deployed_exports(whole: BlitzNet) -> None:
    deployed = Deployed(whole, small_spec()).eval()
    images = torch.from_numpy(random_images(1, 64, 64))
    program = torch.export.export(deployed, (images,))
    for actual, expected in zip(program.module()(images), deployed(images), strict=True):
        torch.testing.assert_close(actual, expected)
