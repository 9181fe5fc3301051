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
    """The golden networks' variables, all zero, as views of one number."""
    lines = (line.split() for line in (FOLDER / f"{name.replace('-', '_')}.txt").read_text().splitlines())
    zero = np.zeros((), np.float32)
    return {key: np.broadcast_to(zero, tuple(int(length) for length in shape.split("x"))) for key, shape in lines}


@pytest.mark.parametrize("name", [S8, "blitznet300-s4", "blitznet512-s8", "blitznet512-s4"])
def test_variable_names_are_those_of_the_original(name: str) -> None:
    spec = get_spec(name)
    keys = [key for key in on_meta(spec).state_dict() if not key.endswith("num_batches_tracked")]
    names = [variable_name(key, spec) for key in keys]
    assert sorted(names) == sorted(empty(name))


def test_the_first_kernel_takes_normalized_rgb() -> None:
    spec = replace(get_spec(S8), std=(0.5, 0.25, 0.125))
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((7, 7, 3, 64)).astype(np.float32)
    converted = convert_weights({**empty(S8), "resnet_v1_50/conv1/weights": kernel}, spec)["encoder.conv1.weight"]
    rgb = torch.from_numpy(rng.random((1, 3, 9, 9)).astype(np.float32))
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (spec.mean, spec.std))
    bgr = (rgb * 255).flip(1) - torch.tensor([103.062623801, 115.902882574, 123.151630838]).view(1, 3, 1, 1)
    expected = F.conv2d(bgr, torch.from_numpy(kernel).permute(3, 2, 0, 1), padding=3)
    torch.testing.assert_close(F.conv2d((rgb - mean) / std, converted, padding=3), expected, atol=0.02, rtol=1e-4)


def test_the_state_of_an_optimizer_is_ignored() -> None:
    optimizer = {name: np.zeros((), np.float32) for name in ("beta1_power", "beta2_power", "global_step")}
    optimizer |= {f"ssd/Conv/weights/{kind}": np.zeros((), np.float32) for kind in ("Adam", "Adam_1", "Momentum")}
    state = convert_weights({**empty(S8), **optimizer}, get_spec(S8))
    on_meta(get_spec(S8)).load_state_dict(state, assign=True)


def without_bias(variables: Arrays) -> Arrays:
    return {name: value for name, value in variables.items() if name != "ssd/Conv/biases"}


def with_unknown(variables: Arrays) -> Arrays:
    return {**variables, "ssd/Conv_9/biases": np.zeros(3)}


def first_checkpoints(variables: Arrays) -> Arrays:
    return {**variables, "ssd/Conv_1/weights": np.zeros((3, 3, 512, 64), np.float32)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_bias, r"the checkpoint: expected \d+ variables, got 1 missing \(ssd/Conv/biases\)$"),
        (with_unknown, r"the checkpoint: expected \d+ variables, got 1 unknown \(ssd/Conv_9/biases\)$"),
        (
            first_checkpoints,
            r"ssd/Conv_1/weights: expected shape \(64, 512, 1, 1\).* first checkpoints of the original have 3x3",
        ),
    ],
)
def test_convert_weights_rejects_variables_that_do_not_fit(change: Callable[[Arrays], Arrays], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_weights(change(empty(S8)), get_spec(S8))


def test_a_checkpoint_of_another_stride_has_a_hint() -> None:
    with pytest.raises(ModelError, match=r"\d+ unknown \(.*\); it has another stride or size, choose another of"):
        convert_weights(empty("blitznet300-s4"), get_spec(S8))


@pytest.mark.parametrize("tasks", [("detection",), ("segmentation",)])
def test_a_checkpoint_of_other_classes_has_a_hint(tasks: tuple[Any, ...]) -> None:
    spec = replace(get_spec(S8), classes=COCO, tasks=tasks)
    removed = "ssd/Conv" if tasks == ("detection",) else ("ssd/location", "ssd/confidence")
    variables = {name: value for name, value in empty(S8).items() if not name.startswith(removed)}
    with pytest.raises(ModelError, match=r"the checkpoint has 20 classes \(VOC\), the spec 80 classes \(COCO\)"):
        convert_weights(variables, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (get_spec("ssd300"), "expected a ResSkip network on resnet50-caffe, got ssd"),
        (replace(get_spec(S8), mean=(0.5, 0.5, 0.5)), "blitznet300-s8: expected the mean"),
    ],
)
def test_convert_weights_rejects_networks_that_the_original_lacks(spec: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        convert_weights({}, spec)


def test_read_variables_reads_npz_and_safetensors(tmp_path: Path) -> None:
    arrays = {"ssd/Conv/biases": np.arange(3, dtype=np.float32)}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    save_file(arrays, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        assert read_variables(tmp_path / name)["ssd/Conv/biases"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["missing.npz", "broken.npz", "broken.safetensors", "single.npy"])
def test_read_variables_rejects_other_files(tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "single.npy", np.zeros(1))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"expected variables as \.npz or \.safetensors, got an unreadable file"):
        read_variables(tmp_path / name)


def test_load_resnet_reads_a_state_dict_of_torchvision() -> None:
    net = build(small_spec())
    weights = {name: torch.full_like(value, 2) for name, value in net.encoder.state_dict().items()}
    weights["fc.weight"] = torch.zeros(1000, 512)
    without_counts = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    load_resnet(net, without_counts)
    assert net.encoder.state_dict()["layer4.1.conv2.weight"].eq(2).all()
    with pytest.raises(ModelError, match=r"encoder weights: expected 120 weights, got 1 missing: conv1\.weight"):
        load_resnet(net, {name: value for name, value in weights.items() if name != "conv1.weight"})
