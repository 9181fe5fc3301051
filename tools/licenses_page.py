"""Write docs/reference/licenses.md, the licenses of all dependencies: `python tools/licenses_page.py`.

It reads the metadata of the installed packages, so it needs an environment with the extra `dev`.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
PAGE = PROJECT.parent / "docs" / "reference" / "licenses.md"
EXTRAS = (
    *("batch", "data", "eval", "openvino", "parquet", "sbd", "serve", "track", "train", "video", "mlflow"),
    *("ncnn", "coreml"),
)
"""extras of users; `wandb` and `ray` are in no environment of this project's fast tests"""
PERMISSIVE = frozenset(
    "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause BSL-1.0 CC0-1.0 HPND ISC MIT MIT-0 MIT-CMU NCSA PSF-2.0 Python-2.0 "
    "Unlicense WTFPL Zlib LLVM-exception".split()
)
"""SPDX identifiers of licenses that ask for no more than a notice"""
WEAK = frozenset({"MPL-2.0"})
"""licenses that ask for the source of the package's own changed files, and nothing of the program that uses it"""
_NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""names of licenses in the metadata of older packages, in lower case -> SPDX identifier"""
_LICENSE_FILES = {"Apache License Version 2.0": "Apache-2.0"}
"""start of a license file, its white space as single spaces -> SPDX identifier, for packages that state nothing else"""
BUNDLED = {
    "libx264": "GPL-2.0",
    "libx265": "GPL-2.0",
    "libQt5": "LGPL-3.0",
    "libav": "LGPL-2.1",
    "libsw": "LGPL-2.1",
    "libmp3lame": "LGPL-2.0",
    "libgmp": "LGPL-3.0",
    "libgnutls": "LGPL-2.1",
    "libhogweed": "LGPL-3.0",
    "libnettle": "LGPL-3.0",
    "libunistring": "LGPL-3.0",
    "libasound": "LGPL-2.1",
    "libgfortran": "GPL-3.0 WITH GCC-exception-3.1",
    "libgomp": "GPL-3.0 WITH GCC-exception-3.1",
    "libquadmath": "LGPL-2.1",
}
"""start of the name of a shared library that a wheel may bundle -> its license, of those that are copyleft"""
_NOT_FFMPEG = ("libavif",)
"""libraries whose names start like those of FFmpeg; they are permissive"""
_MAX_NAME = 60
"""characters of a license's name; longer values are the text of the license"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the metadata and the wheel of a package that need not be installed contain."""

    license: str
    requires: tuple[str, ...] = ()
    """its own dependencies, without those of extras"""
    libraries: tuple[str, ...] = ()
    """names of BUNDLED in its wheel"""


RECORDED = {
    "attrs": Recorded("MIT"),
    "cattrs": Recorded("MIT", ("attrs", "typing-extensions")),
    "coremltools": Recorded(
        "BSD-3-Clause", ("attrs", "cattrs", "numpy", "packaging", "protobuf", "pyaml", "sympy", "tqdm")
    ),
    "ncnn": Recorded("BSD-3-Clause", ("numpy", "portalocker", "requests", "tqdm"), ("libgomp",)),
    "pnnx": Recorded("BSD-3-Clause", ("torch",)),
    "portalocker": Recorded("BSD-3-Clause"),
    "pyaml": Recorded("WTFPL", ("pyyaml",)),
}
"""packages of `ncnn` and `coreml`, which the extra `dev` does not install; a slow test compares them"""


@dataclass(frozen=True, slots=True)
class Package:
    """A dependency and its license."""

    name: str
    license: str
    """SPDX expression, or what the package's metadata has instead"""


def dependencies(extras: Iterable[str] = ()) -> list[Package]:
    """Packages that blitznet with these extras installs on this platform, without itself, sorted by name."""
    licenses_by_name: dict[str, str] = {}
    visited: set[tuple[str, str, str]] = set()
    for requirement in _own_requirements(extras):
        _collect(requirement, licenses_by_name, visited)
    return [Package(name, licenses_by_name[name]) for name in sorted(licenses_by_name)]


def _own_requirements(extras: Iterable[str]) -> list[Requirement]:
    """What blitznet's pyproject.toml requires with these extras, and with those that they contain."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    texts: list[str] = list(project["dependencies"])
    pending, done = list(extras), set()
    while pending:
        extra = pending.pop()
        done.add(extra)
        for text in project["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if requirement.name == "blitznet":
                pending.extend(requirement.extras - done)
            else:
                texts.append(text)
    return [Requirement(text) for text in texts]


def _collect(requirement: Requirement, licenses_by_name: dict[str, str], visited: set[tuple[str, str, str]]) -> None:
    name = canonicalize_name(requirement.name)
    if name in RECORDED:
        licenses_by_name[name], requires = RECORDED[name].license, RECORDED[name].requires
    else:
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name}: expected it to be installed; install blitznet with the extra dev") from None
        licenses_by_name[name], requires = license_of(installed), tuple(installed.requires or ())
    for further in map(Requirement, requires):
        for extra in ("", *requirement.extras):
            key = (name, extra, str(further))
            if key not in visited and (further.marker is None or further.marker.evaluate({"extra": extra})):
                visited.add(key)
                _collect(further, licenses_by_name, visited)


def license_of(installed: Distribution) -> str:
    """SPDX expression of a package: of its metadata, else of its classifiers, else of the older free text."""
    metadata = installed.metadata
    expression, text = (str((metadata.get_all(key) or [""])[0]) for key in ("License-Expression", "License"))
    if expression:
        return expression
    names = [*_classified(metadata.get_all("Classifier") or []), text]
    spdx = [identifier for name in names if (identifier := _spdx(name))] or [*_read_license_files(installed)]
    return spdx[0] if spdx else names[0].splitlines()[0][:_MAX_NAME] if names[0] else "unknown"


def _read_license_files(installed: Distribution) -> Iterator[str]:
    for file in installed.files or ():
        if file.name.startswith("LICENSE"):
            text = " ".join(file.read_text(encoding="utf-8").split())
            yield from (spdx for start, spdx in _LICENSE_FILES.items() if text.startswith(start))


def bundled(name: str) -> dict[str, str]:
    """Copyleft libraries in the wheel of a package, by the names of BUNDLED, with their licenses."""
    if name in RECORDED:
        return {library: BUNDLED[library] for library in RECORDED[name].libraries}
    return bundled_in(distribution(name))


def bundled_in(installed: Distribution) -> dict[str, str]:
    """The same for an installed wheel."""
    files = [file.name for file in installed.files or () if ".so" in file.name]
    files = [file for file in files if not file.startswith(_NOT_FFMPEG)]
    return {start: spdx for start, spdx in BUNDLED.items() if any(file.startswith(start) for file in files)}


def _classified(classifiers: Iterable[str]) -> Iterator[str]:
    yield from (entry.rpartition(" :: ")[2] for entry in classifiers if entry.startswith("License :: OSI Approved :: "))


def _spdx(name: str) -> str | None:
    name = name.strip()
    if len(name) > _MAX_NAME or not name:
        return None
    if known := _NAMES.get(name.lower()):
        return known
    try:
        return canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        return None


def offending(package: Package, allowed: frozenset[str] = PERMISSIVE) -> set[str]:
    """Parts of a license outside `allowed`; of alternatives (OR) one that is allowed suffices."""
    alternatives = re.sub(r"[()]", " ", package.license).split(" OR ")
    rejected = [set(re.split(r" AND | WITH ", text)) for text in alternatives]
    rejected = [{part.strip() for part in parts} - allowed for parts in rejected]
    return min(rejected, key=len)


def render() -> str:
    """The page."""
    base = dependencies()
    known = {package.name for package in base}
    more = [package for package in dependencies(EXTRAS) if package.name not in known]
    names = ", ".join(f"`{name}`" for name in EXTRAS)
    return _PAGE.format(base=_table(base), extras=_table(more), names=names, bundled=_bundled_table([*base, *more]))


def _bundled_table(packages: Iterable[Package]) -> str:
    rows = [
        f"| {package.name} | {', '.join(f'{library} ({spdx})' for library, spdx in libraries.items())} |"
        for package in packages
        if (libraries := bundled(package.name))
    ]
    return "\n".join(["| wheel | copyleft libraries inside |", "|---|---|", *rows])


def _table(packages: Iterable[Package]) -> str:
    return "\n".join(["| package | license |", "|---|---|", *(f"| {p.name} | {p.license} |" for p in packages)])


_PAGE = """# Licenses

blitznet is licensed under the Apache License 2.0: the code, the packaged models and the training weights. `NOTICE` in
each distribution names the weights that are derived from the work of others, all under the same license.

`tools/licenses_page.py` writes this page from the metadata of the installed packages. A test fails if the page is
outdated, or if a license is neither permissive nor the Mozilla Public License (MPL). The MPL asks for the source of
changed files of that package only. No dependency of `pip install blitznet` is under it.

## Libraries inside wheels

A wheel may bundle shared libraries under licenses of their own, which its metadata does not name. These wheels for
Linux bundle copyleft libraries:

{bundled}

- The GCC runtime exception permits programs of any license to use `libgfortran` and `libgomp`.
- Libraries under the LGPL are separate files, which a user can replace. Pass their license on with the wheel.
- x264 and x265 in the wheel of `av` are under the GPL. They matter to whoever distributes the extra `video` or `track`
  inside a product, a container for example. A build of `av` from its source uses an FFmpeg of your choice.

## Dependencies of every installation

{base}

## Dependencies of the extras

These are the further packages of these extras together, as installed with Python 3.11 on Linux: {names}.
Those of `ray` and `wandb` are not listed. torch is its build for CPUs: the one with CUDA installs libraries of NVIDIA,
whose license is proprietary.

{extras}
"""


if __name__ == "__main__":
    PAGE.write_text(render())
