from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save_file

from blitznet.core.classes import COCO
from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.nets.blitznet import build
from blitznet.nets.convert_weights import convert_weights, load_resnet, read_variables, variable_name
from support.golden_files import FOLDER
from support.small_networks import on_meta, small_spec

S8 = "blitznet300-s8"
Arrays = dict[str, NDArray[Any]]


def empty(name: str) -> Arrays:
    """The golden networks' variables, all zero and without memory of their own."""
    lines = (line.split() for line in (FOLDER / f"{name.replace('-', '_')}.txt").read_text().splitlines())
    zero = np.zeros((), np.float32)
    return {key: np.broadcast_to(zero, tuple(int(side) for side in shape.split("x"))) for key, shape in lines}


@pytest.mark.parametrize("name", [S8, "blitznet300-s4", "blitznet512-s8", "blitznet512-s4"])
def test_names_are_the_releases(name: str) -> None:
    spec = get_spec(name)
    keys = [key for key in on_meta(spec).state_dict() if not key.endswith("num_batches_tracked")]
    names = [variable_name(key, spec) for key in keys]
    assert sorted(names) == sorted(empty(name))


def test_first_kernel_takes_rgb_in_0_to_1() -> None:
    spec = replace(get_spec(S8), std=(0.5, 0.25, 0.125))
    draw = np.random.default_rng(0)
    kernel = draw.standard_normal((7, 7, 3, 64)).astype(np.float32)
    converted = convert_weights({**empty(S8), "resnet_v1_50/conv1/weights": kernel}, spec)["encoder.conv1.weight"]
    rgb = torch.from_numpy(draw.random((1, 3, 9, 9)).astype(np.float32))
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (spec.mean, spec.std))
    bgr = (rgb * 255).flip(1) - torch.tensor([103.062623801, 115.902882574, 123.151630838]).view(1, 3, 1, 1)
    expected = F.conv2d(bgr, torch.from_numpy(kernel).permute(3, 2, 0, 1), padding=3)
    torch.testing.assert_close(F.conv2d((rgb - mean) / std, converted, padding=3), expected, atol=0.02, rtol=1e-4)


def test_slots_of_an_optimizer_are_passed_over() -> None:
    slots = {name: np.zeros((), np.float32) for name in ("beta1_power", "beta2_power", "global_step")}
    slots |= {f"ssd/Conv/weights/{kind}": np.zeros((), np.float32) for kind in ("Adam", "Adam_1", "Momentum")}
    state = convert_weights({**empty(S8), **slots}, get_spec(S8))
    on_meta(get_spec(S8)).load_state_dict(state, assign=True)


def without(variables: Arrays) -> Arrays:
    return {name: value for name, value in variables.items() if name != "ssd/Conv/biases"}


def surplus(variables: Arrays) -> Arrays:
    return {**variables, "ssd/Conv_9/biases": np.zeros(3)}


def early(variables: Arrays) -> Arrays:
    return {**variables, "ssd/Conv_1/weights": np.zeros((3, 3, 512, 64), np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, "the checkpoint misses 1: ssd/Conv/biases$"),
        (surplus, "the checkpoint adds 1: ssd/Conv_9/biases$"),
        (early, r"ssd/Conv_1/weights: expected shape \(64, 512, 1, 1\).* first checkpoints had 3x3"),
    ],
)
def test_variables_that_do_not_fit(change: Callable[[Arrays], Arrays], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_weights(change(empty(S8)), get_spec(S8))


def test_another_stride_is_told() -> None:
    with pytest.raises(ModelError, match=r"adds \d+: .*; it is of another stride or size, choose another of"):
        convert_weights(empty("blitznet300-s4"), get_spec(S8))


@pytest.mark.parametrize("tasks", [("detection",), ("segmentation",)])
def test_other_classes_are_told(tasks: tuple[Any, ...]) -> None:
    spec = replace(get_spec(S8), classes=COCO, tasks=tasks)
    dropped = "ssd/Conv" if tasks == ("detection",) else ("ssd/location", "ssd/confidence")
    variables = {name: value for name, value in empty(S8).items() if not name.startswith(dropped)}
    with pytest.raises(ModelError, match=r"the checkpoint knows 20 classes \(VOC\), the contract 80 classes \(COCO\)"):
        convert_weights(variables, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (get_spec("ssd300"), "the release has ResSkip networks on resnet50-caffe only, came ssd"),
        (replace(get_spec(S8), mean=(0.5, 0.5, 0.5)), "the release's weights want the mean"),
    ],
)
def test_contracts_that_the_release_has_not(spec: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_weights({}, spec)


def test_both_kinds_of_file_are_read(tmp_path: Path) -> None:
    arrays = {"ssd/Conv/biases": np.arange(3, dtype=np.float32)}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    save_file(arrays, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        assert read_variables(tmp_path / name)["ssd/Conv/biases"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["missing.npz", "broken.npz", "broken.safetensors", "single.npy"])
def test_files_without_variables(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "single.npy", np.zeros(1))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"expected variables as \.npz or \.safetensors, cannot read them"):
        read_variables(tmp_path / name)


def test_encoder_weights_of_torchvision() -> None:
    net = build(small_spec())
    given = {name: torch.full_like(value, 2) for name, value in net.encoder.state_dict().items()}
    given["fc.weight"] = torch.zeros(1000, 512)
    old = {name: value for name, value in given.items() if not name.endswith("num_batches_tracked")}
    load_resnet(net, old)
    assert net.encoder.state_dict()["layer4.1.conv2.weight"].eq(2).all()
    with pytest.raises(ModelError, match=r"encoder weights: misses 1 of the 120 weights: conv1\.weight"):
        load_resnet(net, {name: value for name, value in given.items() if name != "conv1.weight"})
