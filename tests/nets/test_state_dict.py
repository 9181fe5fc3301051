"""State dicts of other programs: tensors only, one line for anything else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from blitznet.core.errors import ModelError
from blitznet.nets.state_dict import read_state_dict

STATE = {"a.weight": torch.ones(2, 3)}


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_weights_are_read_by_name(name: str, tmp_path: Path) -> None:
    save_file(STATE, tmp_path / name) if name.endswith("rs") else torch.save(STATE, tmp_path / name)
    state = read_state_dict(tmp_path / name)
    assert state.keys() == STATE.keys()
    assert state["a.weight"].equal(STATE["a.weight"])


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04" + bytes(60), b"\x80\x04cos\nsystem\n(S'true'\ntR."])
def test_broken_files_are_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: expected a state dict, got an unreadable file"):
        read_state_dict(tmp_path / name)


def test_other_objects_are_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(ModelError, match=r"a\.pth: expected a state dict of tensors"):
        read_state_dict(tmp_path / "a.pth")
    torch.save({"a": Path("x")}, tmp_path / "b.pth")
    with pytest.raises(ModelError, match=r"b\.pth: expected a state dict, got an unreadable file"):
        read_state_dict(tmp_path / "b.pth")
