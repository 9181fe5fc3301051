import hashlib
import importlib.machinery
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tools.weights_hashes
from blitznet.api import load
from blitznet.core import packaged_files
from blitznet.core.errors import ModelError
from blitznet.core.model_paths import find_model, find_weights
from blitznet.core.packaged_files import CLONE, HASHES, WEIGHTS, packaged_file, packaged_hashes, sha256_of
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_heads import init_from_ssdlite
from support.packaged_models import replace_packaged
from support.small_networks import fpn_spec, on_meta

NAME = "blitznet300-lite"
NO_WEIGHTS = (
    f"{NAME}.safetensors: expected the training weights, which are a package of their own, got none; "
    "`pip install blitznet-weights`, in a clone `pip install ./weights`"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with both files of one model."""
    for suffix in (".onnx", ".safetensors"):
        (tmp_path / f"{NAME}{suffix}").write_bytes(suffix.encode())
    replace_packaged(monkeypatch, tmp_path)
    return tmp_path


def test_the_list_is_that_of_the_tool(tmp_path: Path) -> None:
    tools.weights_hashes.main([], inference=tmp_path, training=tmp_path)
    assert (tmp_path / HASHES).read_text() == ""
    published = tools.weights_hashes.published(WEIGHTS, CLONE)
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in published} == packaged_hashes()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum")
def test_sha256sum_checks_the_list(folder: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", HASHES], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{NAME}.onnx: OK", f"{NAME}.safetensors: OK"]


def test_the_tool_publishes_files_of_a_folder(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    (new / f"{NAME}.onnx").write_bytes(b"newer")
    (new / "unpublished.onnx").touch()
    tools.weights_hashes.main(["--from", str(new)], inference=folder, training=folder)
    assert (folder / f"{NAME}.onnx").read_bytes() == b"newer"
    assert not (folder / "unpublished.onnx").exists()
    assert packaged_file(f"{NAME}.onnx") == folder / f"{NAME}.onnx"
    assert packaged_file(f"{NAME}.safetensors") == folder / f"{NAME}.safetensors"


@pytest.mark.parametrize("content", [b".onny", b"", b".onnx and more"])
def test_a_changed_file_is_refused(folder: Path, content: bytes) -> None:
    find_model(NAME)  # its hash is in the cache
    path = folder / f"{NAME}.onnx"
    expected = sha256_of(path)
    path.write_bytes(content)
    actual = hashlib.sha256(content).hexdigest()
    calls: tuple[Callable[[str], object], ...] = (find_model, load)
    for call in calls:
        with pytest.raises(ModelError) as raised:
            call(NAME)
        assert str(raised.value) == (
            f"{path}: expected the published file with sha256 {expected[:16]}..., got {actual[:16]}...; it was "
            "changed, or is of another version: `pip install --force-reinstall --no-deps blitznet blitznet-weights`"
        )


def test_without_training_weights(folder: Path) -> None:
    (folder / f"{NAME}.safetensors").unlink()
    find_model(NAME)
    calls: tuple[Callable[[str], object], ...] = (find_weights, lambda name: load(name, engine="torch"))
    for call in calls:
        with pytest.raises(ModelError) as raised:
            call(NAME)
        assert str(raised.value) == NO_WEIGHTS


@pytest.mark.parametrize("name", ["ssdlite-mobilenetv2-encoder", "ssdlite-box-head"])
def test_without_pretrained_weights(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(WEIGHTS / HASHES, tmp_path / HASHES)
    if name == "ssdlite-box-head":
        monkeypatch.setattr("blitznet.nets.ssdlite_heads.load_pretrained_encoder", lambda net: None)
    monkeypatch.setattr(packaged_files, "WEIGHTS", tmp_path)
    monkeypatch.setattr(packaged_files, "CLONE", tmp_path)
    net = on_meta(fpn_spec())
    with pytest.raises(ModelError, match=rf"^{name}\.safetensors: expected the training weights, .* `pip install bl"):
        init_from_ssdlite(net, fpn_spec())
    with pytest.raises(ModelError, match="expected the training weights"):
        load_pretrained_encoder(net)


def test_training_weights_of_the_other_package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "site" / "blitznet_weights"
    module.mkdir(parents=True)
    (folder / f"{NAME}.safetensors").rename(module / f"{NAME}.safetensors")
    (module / "__init__.py").write_text("raise RuntimeError('the module of the weights is never imported')")
    module_spec = importlib.machinery.ModuleSpec("blitznet_weights", None, is_package=True)
    module_spec.submodule_search_locations = [str(module)]
    monkeypatch.setattr(packaged_files, "find_spec", {"blitznet_weights": module_spec}.get)
    assert find_weights(NAME) == module / f"{NAME}.safetensors"
    monkeypatch.undo()
    monkeypatch.setattr(packaged_files, "WEIGHTS", folder)
    monkeypatch.setattr(packaged_files, "CLONE", folder)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert find_weights(NAME) == module / f"{NAME}.safetensors"


def test_files_that_are_not_of_the_package(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"^other\.onnx: expected a file of the package, got a name that .* not list$"):
        packaged_file("other.onnx")
    (folder / f"{NAME}.onnx").unlink()
    with pytest.raises(ModelError, match=rf"^{NAME}\.onnx: expected this file in the package, got none; install bl"):
        packaged_file(f"{NAME}.onnx")


@pytest.mark.parametrize("text", [None, "one\n", "a b c\n", "\xff b\n"])
def test_a_missing_or_damaged_list(folder: Path, text: str | None) -> None:
    (folder / HASHES).unlink()
    if text is not None:
        (folder / HASHES).write_text(text, encoding="latin-1")
    with pytest.raises(ModelError, match=r"SHA256SUMS: expected the hashes of the package's files, got none; install"):
        find_model(NAME)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone: cannot be read \(No such file or directory\)$"):
        sha256_of(tmp_path / "gone")


def test_hashes_are_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_model(NAME)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert find_model(NAME) == folder / f"{NAME}.onnx"
