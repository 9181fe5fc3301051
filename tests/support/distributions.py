"""Build the wheel and the source archive of a folder, and install wheels into environments of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "NOTICE", "constraints.txt")
"""files beside src of which a distribution is built"""
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
"""versions of Python that blitznet supports"""


def copy_sources(folder: Path, root: Path = ROOT) -> None:
    """A copy of what both distributions are built of, as in a fresh clone."""
    for name in (*FILES, ".gitignore"):
        shutil.copyfile(root / name, folder / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(root / "src", folder / "src", ignore=ignored)
    shutil.copytree(root / "weights", folder / "weights", ignore=ignored)


def build(folder: Path, out: Path) -> dict[str, bytes]:
    """The archives that `python -m build` makes of a folder: name -> content."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in out.iterdir()}


def names(wheel: Path) -> set[str]:
    """Names of the files in a wheel, without its metadata."""
    return {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}


def interpreters() -> Iterator[Path]:
    """One interpreter of each supported version that this machine has: on the path, or installed by pyenv or uv."""
    home = Path.home()
    roots = [
        Path(os.environ.get("PYENV_ROOT", home / ".pyenv"), "versions"),
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR", home / ".local" / "share" / "uv" / "python")),
    ]
    for version in VERSIONS:
        installed = [path for root in roots for path in sorted(root.glob(f"*{version}*/bin/python{version}"))]
        on_path = shutil.which(f"python{version}")
        candidates = [*installed, *([Path(on_path)] if on_path else [])]
        yield from [path for path in candidates if _version(path) == version][:1]


def _version(python: Path) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def install(python: Path, environment: Path, *requirements: str) -> Path:
    """A new environment of an interpreter with requirements from the package index; its own interpreter."""
    subprocess.run([python, "-m", "venv", environment], check=True, capture_output=True)
    executable = environment / "bin" / "python"
    command = [str(executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return executable
