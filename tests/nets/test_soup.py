from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import save_model
from blitznet.nets.soup import average_weights
from support.small_networks import small_spec


def write(path: Path, seed: int, spec: Spec) -> BlitzNet:
    """Write a randomly initialized model."""
    torch.manual_seed(seed)
    net = build(spec)
    save_model(path, net, spec)
    return net


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c.safetensors"


def test_average_weights_is_the_weighted_mean(files: tuple[Path, Path, Path]) -> None:
    spec = replace(small_spec(), score_calibration=PlattScaling(1.4, 0.2), segmentation_temperature=1.1)
    nets = [write(path, seed, replace(spec, provenance=f"run {seed}")) for seed, path in enumerate(files)]
    for weights, normalized in (((), (1 / 3, 1 / 3, 1 / 3)), ((2.0, 1.0, 1.0), (0.5, 0.25, 0.25))):
        net, soup_spec = average_weights(files, weights)
        for name, value in net.state_dict().items():
            expected = sum(
                weight * model.state_dict()[name].double() for weight, model in zip(normalized, nets, strict=True)
            )
            torch.testing.assert_close(value.double(), torch.as_tensor(expected), rtol=1e-6, atol=1e-7)
        assert soup_spec == replace(spec.uncalibrated(), provenance=soup_spec.provenance)
    assert soup_spec.provenance == "weight average of 3 models: (0.5) run 0; (0.25) run 1; (0.25) run 2"
    assert (soup_spec.score_calibration, soup_spec.segmentation_temperature) == (PlattScaling(), 1.0)


def test_integers_are_those_of_the_first_model(files: tuple[Path, Path, Path]) -> None:
    spec = small_spec()
    for path, batches in zip(files[:2], (3, 8), strict=True):
        net = build(spec)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.num_batches_tracked is not None:
                module.num_batches_tracked.fill_(batches)
        save_model(path, net, spec)
    counts = [value for value in average_weights(files[:2])[0].state_dict().values() if not value.is_floating_point()]
    assert counts
    assert {int(value) for value in counts} == {3}


def test_input_sizes_may_differ_but_not_networks(files: tuple[Path, Path, Path]) -> None:
    spec = small_spec()
    write(files[0], 0, spec)
    write(files[1], 1, replace(spec, size=(96, 96)))
    assert average_weights(files[:2])[1].size == (64, 64)
    write(files[1], 1, replace(spec, classes=("cat", "cow")))
    with pytest.raises(ModelError, match=r"b\.safetensors: expected the classes of \S+a\.safetensors, got others; av"):
        average_weights(files[:2])


@pytest.mark.parametrize(
    ("count", "weights", "message"),
    [
        (1, (), "two or more models to average, got 1"),
        (2, (1.0,), r"each of the 2 models, got \[1.0\]"),
        (2, (1.0, 0.0), "above 0"),
    ],
)
def test_average_weights_rejects_wrong_arguments(
    files: tuple[Path, Path, Path], count: int, weights: tuple[float, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        average_weights(files[:count], weights)
