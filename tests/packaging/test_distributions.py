"""What the wheels and source archives contain: all that belongs to them, nothing else, the same bytes each time."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from blitznet.core.packaged_files import CLONE, packaged_hashes
from support.distributions import ROOT, build, copy_sources, install, interpreters, names
from support.offline import COMMAND, run_offline

MAX_WHEEL = 12_000_000
"""bytes of the wheel, at most"""
SUFFIXES = {".py", ".typed", ".ttf", ".onnx", ".js", ".html", ".css", ".jpg", ".md", ""}
"""endings of files in the wheel; LICENSE_DEJAVU and SHA256SUMS have none"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone; the files of the repository may change while the tests run."""
    folder = tmp_path_factory.mktemp("clone")
    copy_sources(folder)
    return folder


@pytest.fixture(scope="module")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archives of both distributions."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    for source in (clone, clone / "weights"):
        build(source, out)
    return out


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("blitznet-*.whl"))


@pytest.mark.slow
def test_another_build_has_the_same_bytes(built: Path, clone: Path, tmp_path: Path) -> None:
    # Another folder, other times and permissions of files, an older build, and files that git ignores.
    folder, out = tmp_path / "other", tmp_path / "out"
    folder.mkdir()
    copy_sources(folder, clone)
    for path in folder.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    stale = folder / "build" / "lib" / "blitznet"
    stale.mkdir(parents=True)
    (stale / "removed.py").touch()
    (folder / "src" / "blitznet" / "__pycache__").mkdir()
    (folder / "src" / "blitznet" / "__pycache__" / "removed.cpython-311.pyc").touch()
    (folder / "src" / "blitznet" / "weights" / "mine.safetensors").touch()
    (folder / "runs").mkdir()
    (folder / "runs" / "private.py").touch()
    for source in (folder, folder / "weights"):
        archives = build(source, out)
    assert archives == {path.name: path.read_bytes() for path in built.iterdir()}
    assert len(archives) == 4


@pytest.mark.slow
def test_a_removed_file_is_in_no_later_build(tmp_path: Path) -> None:
    pytest.importorskip("build")
    copy_sources(tmp_path)
    (tmp_path / "src" / "blitznet" / "removed.py").touch()
    for name in ("first", "second"):
        build(tmp_path, tmp_path / name)
        content = names(next((tmp_path / name).glob("*.whl")))
        assert ("blitznet/removed.py" in content) == (name == "first")
        (tmp_path / "src" / "blitznet" / "removed.py").unlink(missing_ok=True)


@pytest.mark.slow
def test_the_wheel_contains_the_package(wheel: Path, clone: Path) -> None:
    source = clone / "src" / "blitznet"
    files = {path.relative_to(clone / "src") for path in source.rglob("*") if path.is_file()}
    expected = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    assert names(wheel) == expected
    assert {Path(name).suffix for name in expected} == SUFFIXES
    assert wheel.stat().st_size <= MAX_WHEEL
    with ZipFile(wheel) as file:
        assert file.testzip() is None
        assert all(entry.date_time[0] == 2020 for entry in file.infolist())


@pytest.mark.slow
def test_the_other_wheel_contains_the_training_weights_only(built: Path) -> None:
    listed = {name for name in packaged_hashes() if name.endswith(".safetensors")}
    expected = {f"blitznet_weights/{name}" for name in (*listed, "__init__.py", "NOTICE.md")}
    assert names(next(built.glob("blitznet_weights-*.whl"))) == expected


@pytest.mark.slow
def test_source_archives_contain_what_a_build_needs(built: Path, wheel: Path) -> None:
    with tarfile.open(next(built.glob("blitznet-*.tar.gz"))) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in names(wheel)} <= members
    others = {name for name in members if not name.startswith("src/")}
    assert others <= {"pyproject.toml", "PKG-INFO", ".gitignore", *(path.name for path in ROOT.iterdir())}
    assert not {name for name in members if name.startswith(("tests", "weights", "runs"))}


@pytest.mark.slow
def test_twine_accepts_the_archives(built: Path) -> None:
    pytest.importorskip("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("python", list(interpreters()), ids=lambda path: path.name)
def test_the_wheel_predicts_without_network(python: Path, wheel: Path, tmp_path: Path) -> None:
    """Needs the package index, for the dependencies; then nothing of the network."""
    executable = install(python, tmp_path / "environment", str(wheel))
    # where the system permits it, also the kernel has no network for this process
    namespace = ["unshare", "--net"] if _can_unshare() else []
    out = tmp_path / "out"
    output = run_offline(executable, COMMAND, "predict", "--out", str(out), cwd=tmp_path, prefix=namespace)
    assert "cat" in output
    assert len(list(out.glob("*.jpg"))) == 3
    run_offline(executable, COMMAND, "info", cwd=tmp_path, prefix=namespace)
    installed = run_offline(executable, "import blitznet; print(blitznet.__file__)", cwd=tmp_path, prefix=namespace)
    assert str(tmp_path / "environment") in installed


def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode == 0


@pytest.mark.slow
def test_training_weights_are_found_where_they_are_installed(built: Path, wheel: Path, tmp_path: Path) -> None:
    weights = next(built.glob("blitznet_weights-*.whl"))
    executable = install(Path(sys.executable), tmp_path / "environment", "--no-deps", str(wheel))
    code = (
        "from blitznet.core.packaged_files import packaged_file; print(packaged_file('blitznet300-lite.safetensors'))"
    )
    command = [str(executable), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr.endswith("`pip install blitznet-weights`, in a clone `pip install ./weights`\n")
    subprocess.run([executable, "-m", "pip", "install", "--quiet", "--no-deps", str(weights)], check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "environment")


def test_both_distributions_have_one_version_and_license() -> None:
    base, weights = (
        tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in (ROOT, CLONE.parents[1])
    )
    for key in ("version", "license", "requires-python", "authors"):
        assert base[key] == weights[key]
    assert f"version: {base['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert (ROOT / "LICENSE").read_bytes() == (CLONE.parents[1] / "LICENSE").read_bytes()
