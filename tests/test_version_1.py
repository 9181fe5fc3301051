"""Model files of version 1 load, and give the same outputs as those of version 2, bit for bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from blitznet.api import open_engine
from blitznet.core.image import ImageSource
from blitznet.core.model_paths import find_model, find_weights
from blitznet.core.outputs import OUTPUT_NAMES, Outputs
from blitznet.core.packaged_files import packaged_file
from blitznet.core.spec import METADATA_KEY, Spec
from blitznet.export.rewrite import rewrite
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import SAMPLES

MODELS = ("blitznet416-lite",)
ENGINES: list[tuple[str, EngineName]] = [
    (".onnx", "onnxruntime"),
    (".onnx", "openvino"),
    (".safetensors", "torch"),
]
V1_ANCHORS = {"min_scale": "first", "second_scale": "low", "max_scale": "high"}
V1_NETWORK = {
    "extra_levels": "extra",
    "channels": "width",
    "hidden_channels": "inner",
    "segmentation_channels": "segmentation_width",
    "lateral_channels": "segmentation_taps",
    "ssd_head": "side",
    "ssd_box_head": "side_offsets",
    "detection_prior": "guide",
    "image_prior_weight": "presence",
}
V1_LIMITS = {
    "score_threshold": "score",
    "topk_candidates": "candidates",
    "nms_threshold": "iou",
    "max_per_class": "per_class",
    "max_detections": "per_image",
}
V1_TENSORS = {
    "ssd_head.finest_logits.": "side.finest.",
    "ssd_head.": "side.",
    "detection_prior.level_weights.": "guide.weigh.",
    "detection_prior.foreground_gate.": "guide.gate.",
    "segmentation.fuse.": "segmentation.join.",
    "segmentation.laterals.": "segmentation.taps.",
    "segmentation.residual_block.": "segmentation.block.",
    "segmentation.fine_lateral.": "segmentation.detail.",
    "segmentation.classifier.": "segmentation.classify.",
}


def v1_spec(text: str) -> str:
    """A spec of version 2 as version 1 wrote it."""
    fields: dict[str, Any] = json.loads(text)
    network = renamed(fields.pop("network"), V1_NETWORK)
    calibration = fields.pop("score_calibration")
    fields |= {
        "anchors": renamed(fields["anchors"], V1_ANCHORS),
        "network": {key: value for key, value in network.items() if value is not None},
        "limits": renamed(fields.pop("postprocess"), V1_LIMITS),
        "temperature": calibration["temperature"],
        "shift": calibration["bias"],
        "map_temperature": fields.pop("segmentation_temperature"),
        "licence": fields.pop("license"),
        "version": 1,
    }
    return json.dumps(fields, sort_keys=True)


def renamed(fields: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in fields.items()}


def v1_tensor_name(name: str) -> str:
    for new, old in V1_TENSORS.items():
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def write_v1(path: Path, out: Path) -> None:
    """Copy a model file of version 2 as version 1 wrote it."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        for value in model.graph.output:
            value.name = "class_map" if value.name == "segmentation_logits" else value.name
        for node in model.graph.node:
            node.output[:] = ["class_map" if name == "segmentation_logits" else name for name in node.output]
        for entry in model.metadata_props:
            entry.value = v1_spec(entry.value) if entry.key == METADATA_KEY else entry.value
        onnx.save(model, out)
    else:
        with safe_open(path, "pt") as file:
            tensors = {v1_tensor_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            save_file(tensors, out, {METADATA_KEY: v1_spec(file.metadata()[METADATA_KEY])})


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def outputs_of(path: Path, engine_name: EngineName) -> tuple[Spec, Outputs]:
    engine = open_engine(path, engine=engine_name, threads=1)
    images = np.stack([ImageSource(SAMPLES / f"{name}.jpg").resize(engine.spec.size) for name in ("cat", "astronaut")])
    outputs = engine.run(images)
    assert isinstance(outputs, Outputs)
    return engine.spec, outputs


def require_equal(actual: Outputs, expected: Outputs) -> None:
    for name in OUTPUT_NAMES:
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "engine_name"), ENGINES)
def test_outputs_of_version_1_are_those_of_version_2(
    model: str, suffix: str, engine_name: EngineName, tmp_path: Path
) -> None:
    path, old = packaged_file(f"{model}{suffix}"), tmp_path / f"old{suffix}"
    write_v1(path, old)
    spec, outputs = outputs_of(path, engine_name)
    old_spec, old_outputs = outputs_of(old, engine_name)
    assert old_spec == spec
    require_equal(old_outputs, outputs)


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_rewrite_upgrades_version_1(model: str, suffix: str, tmp_path: Path) -> None:
    path, old, new = packaged_file(f"{model}{suffix}"), tmp_path / f"old{suffix}", tmp_path / f"new{suffix}"
    write_v1(path, old)
    engine_name: EngineName = "onnxruntime" if suffix == ".onnx" else "torch"
    spec, outputs = outputs_of(path, engine_name)
    rewrite(old, replace(spec, provenance="rewritten"), new)
    new_spec, new_outputs = outputs_of(new, engine_name)
    assert new_spec == replace(spec, provenance="rewritten")
    require_equal(new_outputs, outputs)
    assert new.stat().st_size == pytest.approx(path.stat().st_size, abs=1000)


def test_shipped_onnx_files_are_of_version_2(model: str) -> None:
    file = onnx.load(find_model(model))
    assert {output.name for output in file.graph.output} == set(OUTPUT_NAMES)
    metadata = {entry.key: entry.value for entry in file.metadata_props}
    assert json.loads(metadata[METADATA_KEY])["version"] == 2


def test_shipped_safetensors_files_are_of_version_2(model: str) -> None:
    with safe_open(find_weights(model), "pt") as file:
        assert json.loads(file.metadata()[METADATA_KEY])["version"] == 2
        assert not [name for name in file.keys() if name.startswith(tuple(V1_TENSORS.values()))]  # noqa: SIM118
