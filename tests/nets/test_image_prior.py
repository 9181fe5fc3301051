"""The image-level prior: against a plain formula, at inference only, and in an exported int8 file."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch

from blitznet.nets.blitznet import build
from blitznet.nets.image_prior import ImagePrior
from support.small_networks import fpn_spec


def plain_prior(logits: list[list[float]], weight: float) -> list[float]:
    """The prior of each class from the class logits of each anchor, background first."""
    priors = [0.0]
    for channel in range(1, len(logits[0])):
        margin = max(anchor[channel] - anchor[0] for anchor in logits)
        priors.append(weight * log(1 / (1 + exp(-margin)) + 0.2))
    return priors


def test_prior_equals_a_plain_formula() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2, 7, 4))
    prior = ImagePrior(0.5).eval()(torch.from_numpy(logits), (), torch.empty(0))
    assert prior.shape == (2, 4, 1, 1)
    for values, image in zip(prior[..., 0, 0].tolist(), logits.tolist(), strict=True):
        assert values == pytest.approx(plain_prior(image, 0.5))


def test_an_absent_class_loses_log_six_against_a_present_one() -> None:
    logits = torch.tensor([[[0.0, 50.0, -50.0]]], dtype=torch.float64)
    present, absent = ImagePrior(1.0).eval()(logits, (), torch.empty(0))[0, 1:, 0, 0].tolist()
    assert present - absent == pytest.approx(log(6))


def test_training_ignores_the_prior() -> None:
    assert not ImagePrior(0.5).train()(torch.ones(1, 5, 3), (), torch.empty(0)).any()


def test_the_default_model_adds_the_prior_to_every_pixel() -> None:
    spec = replace(fpn_spec(channels=16), size=(64, 64))
    torch.manual_seed(0)
    net = build(spec).eval()
    plain = build(replace(spec, network=replace(spec.network, detection_prior=False))).eval()
    plain.load_state_dict(net.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        outputs, without = net(images), plain(images)
    expected = ImagePrior(0.5).eval()(outputs.logits, (), torch.empty(0))
    difference = outputs.segmentation_logits - without.segmentation_logits
    torch.testing.assert_close(difference, expected.expand_as(difference))
