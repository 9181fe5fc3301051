"""All dependencies are permissive or under the MPL, and the page lists them."""

import json
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors import safe_open

from blitznet.core.packaged_files import packaged_file, packaged_hashes
from blitznet.runtime.onnx_engine import OnnxEngine
from tools.licenses_page import (
    BUNDLED,
    EXTRAS,
    PAGE,
    PERMISSIVE,
    RECORDED,
    WEAK,
    Package,
    Recorded,
    bundled,
    bundled_in,
    dependencies,
    license_of,
    offending,
    render,
)

ROOT = Path(__file__).parents[2]
GPL = {package: {"libx264", "libx265"} for package in ("av",)}
"""packages whose wheels bundle libraries under the GPL, as the page says"""


def test_dependencies_of_every_installation_are_permissive() -> None:
    packages = dependencies()
    assert {"numpy", "onnxruntime", "pillow", "rich", "tyro"} <= {package.name for package in packages}
    assert not {package.name: package.license for package in packages if offending(package)}


def test_dependencies_of_extras_are_permissive_or_weak() -> None:
    packages = dependencies(EXTRAS)
    assert {"torch", "av", "starlette", "openvino", "mlflow-skinny", "ncnn", "coremltools"} <= {
        package.name for package in packages
    }
    assert not {package.name: package.license for package in packages if offending(package, PERMISSIVE | WEAK)}
    assert {package.name for package in packages if offending(package)} == {"certifi", "tqdm"}


def test_bundled_libraries_under_the_gpl_are_known() -> None:
    strict = {library for library, spdx in BUNDLED.items() if spdx.startswith("GPL") and "exception" not in spdx}
    packages = [package.name for package in dependencies(EXTRAS)]
    assert {name: libraries for name in packages if (libraries := strict & bundled(name).keys())} == GPL


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_packages_are_as_installed(name: str) -> None:
    """The extras `ncnn` and `coreml` are in the environment of the slow tests."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    requirements = [Requirement(text) for text in installed.requires or ()]
    requires = {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert RECORDED[name] == Recorded(license_of(installed), tuple(sorted(requires)), tuple(bundled_in(installed)))


@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="the page is of 3.11 on Linux")
def test_the_page_is_that_of_the_tool() -> None:
    assert PAGE.read_text() == render()


@pytest.mark.parametrize(
    ("expression", "rejected"),
    [
        ("MIT", set()),
        ("MIT OR GPL-3.0-only", set()),
        ("MIT AND GPL-3.0-only", {"GPL-3.0-only"}),
        ("(LGPL-2.1-only OR MPL-2.0) AND MIT", {"LGPL-2.1-only"}),
        ("Apache-2.0 WITH LLVM-exception", set()),
        ("MIT WITH Commons-Clause", {"Commons-Clause"}),
        ("unknown", {"unknown"}),
        ("Free for research", {"Free for research"}),
    ],
)
def test_what_is_rejected_in_a_license(expression: str, rejected: set[str]) -> None:
    assert offending(Package("a", expression)) == rejected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT AND GPL-3.0-only\nLicense: BSD", "MIT AND GPL-3.0-only"),
        ("License: BSD\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License: Apache 2.0\nClassifier: Programming Language :: Python", "Apache-2.0"),
        ("License: apache-2.0", "Apache-2.0"),
        ("License: GPL-3.0-only", "GPL-3.0-only"),
        ("License: Free for research only", "Free for research only"),
        ("Summary: nothing", "unknown"),
    ],
)
def test_licenses_in_metadata(tmp_path: Path, metadata: str, expected: str) -> None:
    folder = tmp_path / "a-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: a\nVersion: 1\n{metadata}\n")
    assert license_of(Distribution.at(folder)) == expected


def test_published_weights_state_a_permissive_license() -> None:
    for name in packaged_hashes():
        path = packaged_file(name)
        if name.endswith(".onnx"):
            stated = OnnxEngine(path, threads=1).spec.license
        else:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
            stated = metadata.get("license") or json.loads(metadata["blitznet"])["license"]
        assert stated in PERMISSIVE, name


def test_notices_name_every_file_of_others() -> None:
    text = (packaged_file("ssdlite-box-head.safetensors").parent / "NOTICE.md").read_text()
    foreign = [name for name in packaged_hashes() if not name.startswith("blitznet")]
    assert len(foreign) == 3
    assert set(foreign) == set(re.findall(r"^`(\S+\.safetensors)`$", text, re.MULTILINE))
    assert "NOTICE.md" in (ROOT / "NOTICE").read_text()
