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
    torch.manual_seed(seed)
    net = build(spec)
    save_model(path, net, spec)
    return net


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c.safetensors"


def test_it_is_the_mean_by_shares(files: tuple[Path, Path, Path]) -> None:
    spec = replace(
        small_spec(), score_calibration=PlattScaling(1.4, 0.2), segmentation_temperature=1.1, provenance="one"
    )
    nets = [write(path, seed, replace(spec, provenance=f"run {seed}")) for seed, path in enumerate(files)]
    for shares, parts in (((), (1 / 3, 1 / 3, 1 / 3)), ((2.0, 1.0, 1.0), (0.5, 0.25, 0.25))):
        mean, contract = average_weights(files, shares)
        for name, value in mean.state_dict().items():
            expected = sum(part * net.state_dict()[name].double() for part, net in zip(parts, nets, strict=True))
            torch.testing.assert_close(value.double(), torch.as_tensor(expected), rtol=1e-6, atol=1e-7)
        assert contract == replace(spec.uncalibrated(), provenance=contract.provenance)
    assert contract.provenance == "the weights' average of 3 models: (0.5) run 0; (0.25) run 1; (0.25) run 2"
    assert (contract.score_calibration, contract.segmentation_temperature) == (PlattScaling(), 1.0)


def test_counts_are_those_of_the_first(files: tuple[Path, Path, Path]) -> None:
    spec = small_spec()
    for path, seen in zip(files[:2], (3, 8), strict=True):
        net = build(spec)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.num_batches_tracked is not None:
                module.num_batches_tracked.fill_(seen)
        save_model(path, net, spec)
    counts = [value for value in average_weights(files[:2])[0].state_dict().values() if not value.is_floating_point()]
    assert counts
    assert {int(value) for value in counts} == {3}


def test_other_sizes_fit_and_other_networks_do_not(files: tuple[Path, Path, Path]) -> None:
    spec = small_spec()
    write(files[0], 0, spec)
    write(files[1], 1, replace(spec, size=(96, 96)))
    assert average_weights(files[:2])[1].size == (64, 64)
    write(files[1], 1, replace(spec, classes=("cat", "cow")))
    with pytest.raises(ModelError, match=r"b\.safetensors: its classes differ from those of \S+a\.safetensors; an av"):
        average_weights(files[:2])


@pytest.mark.parametrize(
    ("count", "shares", "said"),
    [
        (1, (), "two models or more, came 1"),
        (2, (1.0,), r"each of the 2 models, came \[1.0\]"),
        (2, (1.0, 0.0), "above 0"),
    ],
)
def test_misuse(files: tuple[Path, Path, Path], count: int, shares: tuple[float, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        average_weights(files[:count], shares)
