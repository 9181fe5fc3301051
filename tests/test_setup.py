import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools")
ROOT = Path(__file__).parents[1]


def build(folder: Path) -> set[str]:
    """The modules that a build of the folder contains."""
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "build_py"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return {path.name for path in (folder / "build" / "lib" / "blitznet").iterdir()}


@pytest.mark.slow
def test_a_second_build_has_no_removed_files(tmp_path: Path) -> None:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tmp_path / name)
    package = tmp_path / "src" / "blitznet"
    package.mkdir(parents=True)
    for name in ("__init__.py", "kept.py", "removed.py"):
        (package / name).touch()
    assert build(tmp_path) >= {"kept.py", "removed.py"}
    (package / "removed.py").unlink()
    modules = build(tmp_path)
    assert "kept.py" in modules
    assert "removed.py" not in modules
