import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.api import WEIGHTS
from blitznet.core.errors import ModelError
from blitznet.core.photo import Photo
from blitznet.core.result import Outputs
from blitznet.export.onnx import export_onnx
from blitznet.export.verify import Parity, compare, verify
from blitznet.nets.engine import TorchEngine
from blitznet.nets.files import load_model
from blitznet.runtime.onnx import OnnxEngine
from blitznet.runtime.photos import find_photos
from export.small import small
from runtime.fakes import SPEC, FakeEngine, random_outputs

PHOTOS = [Photo(path) for path in find_photos()]
OUTPUTS = random_outputs()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "small.onnx"
    export_onnx(small(), SPEC, path)
    return path


def test_a_faithful_file_stays(exported: Path) -> None:
    parity = verify(exported, small(), SPEC, PHOTOS)
    assert exported.is_file()
    assert max(parity.raw.values()) < 1e-4
    assert parity.pixels < 0.5
    assert parity.score < 1e-3


def test_a_file_of_another_network_is_deleted(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    net = small()
    with torch.no_grad():
        net.class_map.weight[0, 0, 0, 0] += 1
    with pytest.raises(
        ModelError, match=r"a\.onnx: does not answer as .*, class_map differ by \S+ of their deviation;"
    ):
        verify(path, net, SPEC, PHOTOS)
    assert not path.exists()


def test_a_file_with_another_contract_is_deleted(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"a\.onnx: the contract in the file is not the network's"):
        verify(path, small(), replace(SPEC, mean=(0.1, 0.1, 0.1)), PHOTOS)
    assert not path.exists()


def changed(name: str, amount: float) -> Outputs:
    """The outputs with one answer shifted in one place."""
    value = getattr(OUTPUTS, name).copy()
    value.reshape(-1)[5] += amount
    return replace(OUTPUTS, **{name: value})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (OUTPUTS, None),
        (changed("offsets", 1e-5), None),
        (changed("offsets", 1e-2), "offsets differ by 0.0"),
        (changed("logits", 1.0), "logits differ by 0.3"),
        (changed("class_map", float("nan")), "class_map differ by inf"),
        (replace(OUTPUTS, class_map=None), "class_map differ by inf"),
    ],
    ids=["same", "hardly", "offsets", "logits", "not a number", "missing"],
)
def test_the_worst_difference_is_named(other: Outputs, words: str | None) -> None:
    worst = compare(FakeEngine(OUTPUTS), FakeEngine(other), PHOTOS[:1]).worst()
    assert worst is None if words is None else worst is not None and worst.startswith(words)


@pytest.mark.parametrize(
    ("parity", "words"),
    [
        (Parity({"logits": 9e-5}, 0.4, 9e-4), None),
        (Parity({"logits": 2e-4}, 5.0, 9e-4), "boxes differ by 5 pixels"),
        (Parity({"logits": 2e-4}, 0.6, 0.1), "scores differ by 0.1"),
        (Parity({"logits": np.inf}, np.inf, 0.1), "logits differ by inf of their deviation"),
    ],
)
def test_bounds(parity: Parity, words: str | None) -> None:
    assert parity.worst() == words


def test_a_detection_that_one_of_them_lacks() -> None:
    logits = np.full_like(OUTPUTS.logits, 0)
    logits[..., 0] = 20
    assert OUTPUTS.logits is not None
    none = replace(OUTPUTS, logits=logits)
    parity = compare(FakeEngine(none), FakeEngine(OUTPUTS), PHOTOS[:1])
    assert parity.pixels == np.inf


@pytest.mark.skipif(not (WEIGHTS / "blitznet300-lite.onnx").is_file(), reason="no weights were built into the package")
def test_the_packages_two_files_are_one_model() -> None:
    net, spec = load_model(WEIGHTS / "blitznet300-lite.safetensors")
    engine = OnnxEngine(WEIGHTS / "blitznet300-lite.onnx", threads=1)
    assert engine.spec == spec
    assert compare(TorchEngine(net, spec), engine, PHOTOS).worst() is None
