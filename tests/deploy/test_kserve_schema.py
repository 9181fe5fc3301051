"""The manifest for KServe has only fields that KServe's and Kubernetes' own Python packages know, of the right types.

Both packages contain classes made from the OpenAPI schema. Their source is read, so that neither is installed.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "kserve" / "inference-service.yaml").read_text())
PACKAGES = {"kserve==0.21.0": "kserve/models/", "kubernetes==33.1.0": "kubernetes/client/models/"}
"""package -> folder of its classes"""
PLAIN: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "object": (int, str, dict),
    "ResourceQuantity": str,
    "datetime": str,
}
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)
_REQUIRED = re.compile(r"Invalid value for `(\w+)`, must not be `None`")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Class name -> source."""
    folder = tmp_path_factory.mktemp("wheels")
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *PACKAGES]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    return {name: text for package, prefix in PACKAGES.items() for name, text in _classes(folder, package, prefix)}


def _classes(folder: Path, package: str, prefix: str) -> list[tuple[str, str]]:
    (path,) = folder.glob(f"{package.partition('==')[0]}-*.whl")
    with ZipFile(path) as wheel:
        texts = [wheel.read(name).decode() for name in wheel.namelist() if name.startswith(prefix)]
    return [(match.group(1), text) for text in texts if (match := _CLASS.search(text))]


@cache
def schema(source: str) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """The types of the attributes of a class, their names in JSON, and the required attributes."""
    tables: dict[str, Any] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Dict):
            tables[node.targets[0].id] = ast.literal_eval(node.value)
    return tables["openapi_types"], tables["attribute_map"], set(_REQUIRED.findall(source))


def faults(value: Any, kind: str, sources: dict[str, str], where: str) -> list[str]:
    """What of a value is not of a type."""
    if kind in PLAIN:
        return [] if isinstance(value, PLAIN[kind]) else [f"{where}: expected {kind}, got {value!r}"]
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{where}: expected a list, got {value!r}"]
        return [fault for i, item in enumerate(value) for fault in faults(item, kind[5:-1], sources, f"{where}[{i}]")]
    if kind.startswith(("dict(", "dict[")):
        item_kind = kind[5:-1].split(", ")[1]
        return [fault for key, item in value.items() for fault in faults(item, item_kind, sources, f"{where}.{key}")]
    types, names, required = schema(sources[kind])
    attributes = {name: attribute for attribute, name in names.items()}
    unknown = [f"{where}.{name}: unknown field" for name in value if name not in attributes]
    missing = [f"{where}.{names[name]}: missing" for name in required if names[name] not in value]
    inner = [
        fault
        for name, item in value.items()
        if name in attributes
        for fault in faults(item, types[attributes[name]], sources, f"{where}.{name}")
    ]
    return unknown + missing + inner


def test_the_manifest_follows_the_schema(sources: dict[str, str]) -> None:
    assert MANIFEST["apiVersion"] == "serving.kserve.io/v1beta1"
    assert MANIFEST["kind"] == "InferenceService"
    assert faults(MANIFEST, "V1beta1InferenceService", sources, "") == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"minReplica": 1}, ".minReplica: unknown field"),
        ({"minReplicas": "1"}, ".minReplicas: expected int, got '1'"),
        ({"containers": [{"image": "blitznet"}]}, ".containers[0].name: missing"),
        (
            {"containers": [{"name": "a", "ports": [{"port": 1, "containerPort": 1}]}]},
            ".containers[0].ports[0].port: unknown field",
        ),
    ],
)
def test_faults_are_found(changes: dict[str, Any], fault: str, sources: dict[str, str]) -> None:
    predictor = {**MANIFEST["spec"]["predictor"], **changes}
    assert fault in faults(predictor, "V1beta1PredictorSpec", sources, "")
