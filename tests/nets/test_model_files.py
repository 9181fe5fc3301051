import os
import stat
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import METADATA_KEY
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import load_model, save_model
from support.small_networks import small_spec


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    torch.manual_seed(3)
    return build(small_spec())


def test_a_model_comes_back_as_it_was(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    for parameter in net.parameters():
        parameter.data = parameter.data.transpose(0, -1).contiguous().transpose(0, -1)
    save_model(path, net, small_spec())
    loaded, spec = load_model(path)
    assert spec == small_spec()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_half_precision_is_for_kernels(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_model(path, net, small_spec(), dtype=torch.float16)
    kinds = {value.dtype for value in load_file(path).values() if value.ndim > 1}
    assert kinds == {torch.float16}
    loaded, _ = load_model(path)
    for name, value in loaded.state_dict().items():
        assert value.dtype == net.state_dict()[name].dtype
        torch.testing.assert_close(value, net.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_a_weight_too_large_leaves_the_old_file(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    broken = deepcopy(net)
    broken.state_dict()["encoder.conv1.weight"][0, 0, 0, 0] = 1e6
    with pytest.raises(ModelError, match=r"encoder\.conv1\.weight: a weight is not finite as torch\.float16"):
        save_model(path, broken, small_spec(), dtype=torch.float16)
    assert path.read_bytes() == b"old"


def test_a_write_that_fails_leaves_nothing(net: BlitzNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("disk full")

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match=r"model\.safetensors: cannot be written \(disk full\)"):
        save_model(path, net, small_spec())
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_model_is_the_umasks(net: BlitzNet, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_model(tmp_path / "model.safetensors", net, small_spec())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == mode


def test_a_place_that_cannot_be_written_to(net: BlitzNet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/model\.safetensors: cannot be written \(.*\)"):
        save_model(tmp_path / "file" / "model.safetensors", net, small_spec())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", r"^\S+/model\.safetensors: this is not a contract of a blitznet model \('anchors'\)$"),
        (
            replace(small_spec(), network=replace(small_spec().network, encoder="vgg16")).to_json(),
            r"^\S+/model\.safetensors: .*vgg16",
        ),
        (
            small_spec().to_json().replace('"family": "blitznet"', '"family": "yolo"'),
            r"^\S+/model\.safetensors: small: expected a family of blitznet, ssd, lite, ssd-lite, got 'yolo'$",
        ),
        (
            small_spec().to_json().replace('"extra": 3', '"extra": 3, "depth": 9'),
            r"^\S+/model\.safetensors: Network has no \['depth'\]; the file is of a newer version, update blitznet$",
        ),
        (
            replace(small_spec(), version=2).to_json(),
            r"^\S+/model\.safetensors: expected a contract of version 1, got 2; update blitznet$",
        ),
    ],
)
def test_contracts_that_are_none_are_told_with_their_file(tmp_path: Path, text: str, message: str) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={METADATA_KEY: text})
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "model.safetensors")


def test_files_that_are_not_models(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(path)
    path.write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"not a blitznet model, its metadata has no 'blitznet'; make one with `.*`"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("less", r"misses 1 of the \d+ weights: encoder\.bn1\.bias"),
        ("more", r"has unknown 1 of the \d+ weights: surplus"),
        ("classes", r"detection\.logits\.0\.weight: expected shape \(24, 16, 3, 3\), got \(18, 16, 3, 3\)"),
    ],
)
def test_weights_that_do_not_fit(net: BlitzNet, tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "model.safetensors"
    weights = {name: value.contiguous() for name, value in net.state_dict().items()}
    spec = small_spec()
    if change == "less":
        del weights["encoder.bn1.bias"]
    elif change == "more":
        weights["surplus"] = torch.zeros(1)
    else:
        spec = replace(spec, classes=("cat", "dog", "cow"))
    save_file(weights, path, metadata={METADATA_KEY: spec.to_json()})
    with pytest.raises(ModelError, match=message):
        load_model(path)
