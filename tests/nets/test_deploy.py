from dataclasses import replace

import numpy as np
import pytest
import torch

from blitznet.core.models import NORMALISATIONS
from blitznet.core.spec import BOTH, Task
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.deploy import Deployed, answers, normalise
from blitznet.nets.engine import TorchEngine
from nets.small import small_spec


def photos(count: int, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


def test_normalise_is_the_contracts() -> None:
    mean, std = NORMALISATIONS["resnet50"]
    spec = replace(small_spec(), mean=mean, std=std)
    images = photos(2, 4, 5)
    given = normalise(torch.from_numpy(images).permute(0, 3, 1, 2), spec).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(given, (images / 255 - mean) / std, atol=1e-6)


@pytest.fixture(scope="module")
def whole() -> BlitzNet:
    return build(small_spec())


@pytest.mark.parametrize("tasks", [BOTH, ("detection",), ("segmentation",)])
def test_engine_answers_what_the_network_says(whole: BlitzNet, tasks: tuple[Task, ...]) -> None:
    spec = replace(small_spec(), tasks=tasks)
    heads_of = (
        whole.detection if "detection" in tasks else None,
        whole.segmentation if "segmentation" in tasks else None,
    )
    net = BlitzNet(whole.encoder, whole.downscale, whole.upscale, *heads_of)
    images = photos(2, 64, 48)
    outputs = TorchEngine(net, spec).run(images)
    with torch.no_grad():
        heads = net.eval()(normalise(torch.from_numpy(images).permute(0, 3, 1, 2), spec))
    for name in ("offsets", "logits", "class_map"):
        wanted, came = getattr(heads, name), getattr(outputs, name)
        assert (came is None) == (wanted is None) == (name not in answers(spec))
        if came is not None:
            np.testing.assert_allclose(came, wanted.numpy(), atol=1e-5)


def test_deployed_exports(whole: BlitzNet) -> None:
    deployed = Deployed(whole, small_spec()).eval()
    images = torch.from_numpy(photos(1, 64, 64))
    program = torch.export.export(deployed, (images,))
    for came, wanted in zip(program.module()(images), deployed(images), strict=True):
        torch.testing.assert_close(came, wanted)
