"""The resumable state: restored bit for bit, written atomically, refused for another network."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.train.checkpoint import checksum, load_state, save_state
from blitznet.train.config import TrainConfig
from blitznet.train.ema import ModelEma
from blitznet.train.optimizer import make_optimizer, state_tensors
from support import tiny_models

PAPER, LITE = tiny_models.specs()
Parts = tuple[BlitzNet, torch.optim.Optimizer, ModelEma]


def make_parts(seed: int, spec: Spec = PAPER, *, trained: bool = True) -> Parts:
    torch.manual_seed(seed)
    net = build(spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    optimizer, ema = make_optimizer(net, TrainConfig()), ModelEma(net)
    if trained:
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        ema.update(net, 0.5)
    return net, optimizer, ema


def tensors_of(parts: Parts) -> dict[str, torch.Tensor]:
    net, optimizer, ema = parts
    return {
        **{f"net.{name}": value for name, value in net.state_dict().items()},
        **{f"optimizer.{name}": value for name, value in state_tensors(optimizer)},
        **{f"average.{name}": value for name, value in ema.net.state_dict().items()},
    }


def test_load_restores_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, ema = first = make_parts(0)
    save_state(path, 41, net=net, optimizer=optimizer, ema=ema)
    net, optimizer, ema = second = make_parts(1, trained=False)
    assert load_state(path, net=net, optimizer=optimizer, ema=ema) == 41
    saved, loaded = tensors_of(first), tensors_of(second)
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(value, loaded[name]) for name, value in saved.items())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"step": "41", "sha256": checksum(load_file(path))}
        assert {name.partition(".")[0] for name in file.keys()} == {"net", "optimizer", "average"}  # noqa: SIM118


def test_state_without_average(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, _ = make_parts(0)
    save_state(path, 1, net=net, optimizer=optimizer, ema=None)
    net, optimizer, ema = make_parts(1)
    assert load_state(path, net=net, optimizer=optimizer, ema=None) == 1
    with pytest.raises(
        ModelError, match="expected the state of this network and optimizer, got another; choose another --out"
    ):
        load_state(path, net=net, optimizer=optimizer, ema=ema)


def test_crash_while_writing_keeps_the_previous_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, ema = make_parts(0)
    save_state(path, 1, net=net, optimizer=optimizer, ema=ema)
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UsageError, match=r"state\.safetensors: .*no space"):
        save_state(path, 2, net=net, optimizer=optimizer, ema=ema)
    assert path.read_bytes() == before


def test_state_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, ema = make_parts(0)
    save_state(path, 1, net=net, optimizer=optimizer, ema=ema)
    net, optimizer, ema = make_parts(0, LITE)
    with pytest.raises(
        ModelError, match="expected the state of this network and optimizer, got another; choose another --out"
    ):
        load_state(path, net=net, optimizer=optimizer, ema=ema)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x20\0\0\0\0\0\0\0" + json.dumps({}).ljust(32).encode()])
def test_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    net, optimizer, ema = make_parts(0)
    with pytest.raises(ModelError, match=r"state\.safetensors: expected the state of a run, got an unreadable file"):
        load_state(path, net=net, optimizer=optimizer, ema=ema)


def test_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, ema = make_parts(0)
    save_state(path, 1, net=net, optimizer=optimizer, ema=ema)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"state\.safetensors: expected the state as it was written, got changed bytes"
    ):
        load_state(path, net=net, optimizer=optimizer, ema=ema)


def test_state_without_checksum_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, ema = make_parts(0)
    save_state(path, 7, net=net, optimizer=optimizer, ema=ema)
    save_file(load_file(path), path, {"step": "7"})
    assert load_state(path, net=net, optimizer=optimizer, ema=ema) == 7


def test_checksum_depends_on_names_shapes_and_types() -> None:
    value = torch.zeros(4)
    variants = [{"a": value}, {"b": value}, {"a": value.view(2, 2)}, {"a": torch.zeros(4, dtype=torch.int32)}]
    assert len({checksum(tensors) for tensors in variants}) == 4
    assert checksum({"a": value, "b": value}) == checksum({"b": value, "a": value})


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_torn_state_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, ema = make_parts(0)
    save_state(path, 1, net=net, optimizer=optimizer, ema=ema)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"state\.safetensors: expected the state of a run, got an unreadable file"):
        load_state(path, net=net, optimizer=optimizer, ema=ema)
