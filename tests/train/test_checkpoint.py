"""The resume state: bit for bit there and back, written whole or not at all, refused in words."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.train import checkpoint as state_file
from blitznet.train.checkpoint import load_state, save_state
from blitznet.train.config import TrainConfig
from blitznet.train.ema import ModelEma
from blitznet.train.optimizer import make_optimizer, state_tensors
from support import tiny_models

PAPER, LITE = tiny_models.specs()
Made = tuple[BlitzNet, torch.optim.Optimizer, ModelEma]


def make(seed: int, spec: Spec = PAPER, *, learned: bool = True) -> Made:
    torch.manual_seed(seed)
    net = build(spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
    optimizer, average = make_optimizer(net, TrainConfig()), ModelEma(net)
    if learned:
        for parameter in net.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        average.update(net, 0.5)
    return net, optimizer, average


def values(made: Made) -> dict[str, torch.Tensor]:
    net, optimizer, average = made
    return {
        **{f"net.{name}": value for name, value in net.state_dict().items()},
        **{f"optimizer.{name}": value for name, value in state_tensors(optimizer)},
        **{f"average.{name}": value for name, value in average.net.state_dict().items()},
    }


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, average = first = make(0)
    save_state(path, 41, net=net, optimizer=optimizer, average=average)
    net, optimizer, average = second = make(1, learned=False)
    assert load_state(path, net=net, optimizer=optimizer, average=average) == 41
    mine, theirs = values(first), values(second)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"step": "41"}
        assert {name.partition(".")[0] for name in file.keys()} == {"net", "optimizer", "average"}  # noqa: SIM118


def test_without_an_average(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, _ = make(0)
    save_state(path, 1, net=net, optimizer=optimizer, average=None)
    net, optimizer, average = make(1)
    assert load_state(path, net=net, optimizer=optimizer, average=None) == 1
    with pytest.raises(ModelError, match="of another network or optimizer; choose another --out"):
        load_state(path, net=net, optimizer=optimizer, average=average)


def test_a_crash_while_writing_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, average = make(0)
    save_state(path, 1, net=net, optimizer=optimizer, average=average)
    before = path.read_bytes()

    def cut_off(tensors: object, to: Path, metadata: object) -> None:
        to.write_bytes(before[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(state_file, "save_file", cut_off)
    with pytest.raises(OSError, match="no space"):
        save_state(path, 2, net=net, optimizer=optimizer, average=average)
    assert path.read_bytes() == before


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    net, optimizer, average = make(0)
    save_state(path, 1, net=net, optimizer=optimizer, average=average)
    net, optimizer, average = make(0, LITE)
    with pytest.raises(ModelError, match="of another network or optimizer; choose another --out"):
        load_state(path, net=net, optimizer=optimizer, average=average)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x20\0\0\0\0\0\0\0" + json.dumps({}).ljust(32).encode()])
def test_what_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    net, optimizer, average = make(0)
    with pytest.raises(ModelError, match=r"state\.safetensors: expected the state of a run, this cannot be read"):
        load_state(path, net=net, optimizer=optimizer, average=average)
