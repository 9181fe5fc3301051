import json
import os
import stat
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import METADATA_KEY
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import load_model, save_model, upgrade_v1_weights
from support.small_networks import lite_spec_with_additions, on_meta, small_spec


@pytest.fixture(scope="module")
def net() -> BlitzNet:
    torch.manual_seed(3)
    return build(small_spec())


def test_load_model_returns_what_save_model_wrote(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    for parameter in net.parameters():
        parameter.data = parameter.data.transpose(0, -1).contiguous().transpose(0, -1)
    save_model(path, net, small_spec())
    loaded, spec = load_model(path)
    assert spec == small_spec()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_save_model_stores_only_kernels_in_half_precision(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_model(path, net, small_spec(), dtype=torch.float16)
    kinds = {value.dtype for value in load_file(path).values() if value.ndim > 1}
    assert kinds == {torch.float16}
    loaded, _ = load_model(path)
    for name, value in loaded.state_dict().items():
        assert value.dtype == net.state_dict()[name].dtype
        torch.testing.assert_close(value, net.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_save_model_keeps_the_old_file_if_a_weight_overflows(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    broken = deepcopy(net)
    broken.state_dict()["encoder.conv1.weight"][0, 0, 0, 0] = 1e6
    with pytest.raises(
        ModelError,
        match=r"encoder\.conv1\.weight: expected finite weights, got one that is not finite as torch\.float16",
    ):
        save_model(path, broken, small_spec(), dtype=torch.float16)
    assert path.read_bytes() == b"old"


def test_save_model_leaves_no_file_if_writing_fails(
    net: BlitzNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("disk full")

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match=r"model\.safetensors: cannot be written \(disk full\)"):
        save_model(path, net, small_spec())
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_save_model_respects_the_umask(net: BlitzNet, tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_model(tmp_path / "model.safetensors", net, small_spec())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == mode


def test_save_model_reports_a_folder_that_cannot_be_written(net: BlitzNet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/model\.safetensors: cannot be written \(.*\)"):
        save_model(tmp_path / "file" / "model.safetensors", net, small_spec())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", r"^\S+/model\.safetensors: expected the spec of a blitznet model, got something else \('anchors'\)$"),
        (
            replace(small_spec(), network=replace(small_spec().network, encoder="vgg16")).to_json(),
            r"^\S+/model\.safetensors: .*vgg16",
        ),
        (
            small_spec().to_json().replace('"family": "blitznet"', '"family": "yolo"'),
            r"^\S+/model\.safetensors: family: expected one of blitznet, .*, lite-fpn, ssd-lite, got 'yolo'$",
        ),
        (
            small_spec().to_json().replace('"extra_levels": 3', '"extra_levels": 3, "depth": 9'),
            r"^\S+/model\.safetensors: the spec has unknown keys \['depth'\]; "
            r"the file is of a newer version, update blitznet$",
        ),
        (
            replace(small_spec(), version=3).to_json(),
            r"^\S+/model\.safetensors: expected a model spec of version 2 or older, got 3; update blitznet$",
        ),
    ],
)
def test_load_model_names_the_file_of_a_wrong_spec(tmp_path: Path, text: str, message: str) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={METADATA_KEY: text})
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "model.safetensors")


V1_NAMES = {
    "encoder.stem.conv.weight": "encoder.stem.conv.weight",
    "upscale.blocks.0.residual.0.conv.weight": "upscale.blocks.0.residual.0.conv.weight",
    "detection.logits.0.1.bias": "detection.logits.0.1.bias",
    "side.features.0.conv.weight": "ssd_head.features.0.conv.weight",
    "side.logits.5.weight": "ssd_head.logits.5.weight",
    "side.finest.bias": "ssd_head.finest_logits.bias",
    "side.offsets.0.0.norm.bias": "ssd_head.offsets.0.0.norm.bias",
    "guide.weigh.weight": "detection_prior.level_weights.weight",
    "guide.gate.bias": "detection_prior.foreground_gate.bias",
    "segmentation.reduce.6.0.bias": "segmentation.reduce.6.0.bias",
    "segmentation.join.1.conv.weight": "segmentation.fuse.1.conv.weight",
    "segmentation.taps.1.1.weight": "segmentation.laterals.1.1.weight",
    "segmentation.block.residual.2.norm.weight": "segmentation.residual_block.residual.2.norm.weight",
    "segmentation.detail.conv.weight": "segmentation.fine_lateral.conv.weight",
    "segmentation.smooth.norm.running_var": "segmentation.smooth.norm.running_var",
    "segmentation.classify.weight": "segmentation.classifier.weight",
}
"""a name of every kind in version 1, and in version 2"""


def test_upgrade_v1_weights_renames_every_part() -> None:
    old = {name: torch.full((1,), float(index)) for index, name in enumerate(V1_NAMES)}
    new = upgrade_v1_weights(old)
    assert list(new) == list(V1_NAMES.values())
    assert all(new[name] is old[former] for former, name in V1_NAMES.items())


def test_upgraded_names_are_those_of_the_network_in_the_same_order() -> None:
    """A network with every part has the names of version 2; renaming back and upgrading gives them unchanged."""
    names = list(on_meta(lite_spec_with_additions(lateral_channels=8)).state_dict())
    pairs = [(old, new) for old, new in V1_PREFIXES if any(name.startswith(new) for name in names)]
    assert pairs == V1_PREFIXES
    former = {}
    for name in names:
        old, new = next(((old, new) for old, new in V1_PREFIXES if name.startswith(new)), ("", ""))
        former[old + name.removeprefix(new)] = torch.zeros(1)
    assert list(upgrade_v1_weights(former)) == names


V1_PREFIXES = [
    ("side.finest.", "ssd_head.finest_logits."),
    ("side.", "ssd_head."),
    ("guide.weigh.", "detection_prior.level_weights."),
    ("guide.gate.", "detection_prior.foreground_gate."),
    ("segmentation.join.", "segmentation.fuse."),
    ("segmentation.taps.", "segmentation.laterals."),
    ("segmentation.block.", "segmentation.residual_block."),
    ("segmentation.detail.", "segmentation.fine_lateral."),
    ("segmentation.classify.", "segmentation.classifier."),
]


def test_load_model_reads_a_file_of_version_1(tmp_path: Path) -> None:
    spec = lite_spec_with_additions()
    fields = json.loads(spec.to_json())
    torch.manual_seed(5)
    net = build(spec)
    back = {new: old for old, new in V1_PREFIXES}
    weights = {}
    for name, value in net.state_dict().items():
        new = next((prefix for prefix in back if name.startswith(prefix)), "")
        weights[back.get(new, "") + name.removeprefix(new)] = value.contiguous()
    save_file(weights, tmp_path / "old.safetensors", metadata={METADATA_KEY: json.dumps(_downgraded(fields))})
    loaded, read = load_model(tmp_path / "old.safetensors")
    assert read == spec
    expected = net.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def _downgraded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a version 2 spec as version 1 wrote them."""
    anchors, network, post = fields["anchors"], fields["network"], fields["postprocess"]
    calibration = fields["score_calibration"]
    names = {
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
    return {
        "name": fields["name"],
        "classes": fields["classes"],
        "size": fields["size"],
        "anchors": {
            "strides": anchors["strides"],
            "first": anchors["min_scale"],
            "low": anchors["second_scale"],
            "high": anchors["max_scale"],
            "ratios": anchors["ratios"],
            "variances": anchors["variances"],
        },
        "network": {names.get(key, key): value for key, value in network.items()}
        | {"segmentation_taps": network["lateral_channels"] or 0},
        "mean": fields["mean"],
        "std": fields["std"],
        "tasks": fields["tasks"],
        "limits": {
            "score": post["score_threshold"],
            "candidates": post["topk_candidates"],
            "iou": post["nms_threshold"],
            "per_class": post["max_per_class"],
            "per_image": post["max_detections"],
        },
        "temperature": calibration["temperature"],
        "shift": calibration["bias"],
        "map_temperature": fields["segmentation_temperature"],
        "precision": fields["precision"],
        "licence": fields["license"],
        "provenance": fields["provenance"],
        "version": 1,
    }


def test_load_model_rejects_files_that_are_not_models(net: BlitzNet, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(path)
    path.write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(
        ModelError, match=r"expected a blitznet model, got a file without 'blitznet' metadata; make one with `.*`"
    ):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"expected \d+ weights, got 1 missing: encoder\.bn1\.bias"),
        ("unknown", r"expected \d+ weights, got 1 unknown: surplus"),
        ("classes", r"detection\.logits\.0\.weight: expected shape \(24, 16, 3, 3\), got \(18, 16, 3, 3\)"),
    ],
)
def test_load_model_rejects_weights_that_do_not_fit_the_spec(
    net: BlitzNet, tmp_path: Path, change: str, message: str
) -> None:
    path = tmp_path / "model.safetensors"
    weights = {name: value.contiguous() for name, value in net.state_dict().items()}
    spec = small_spec()
    if change == "missing":
        del weights["encoder.bn1.bias"]
    elif change == "unknown":
        weights["surplus"] = torch.zeros(1)
    else:
        spec = replace(spec, classes=("cat", "dog", "cow"))
    save_file(weights, path, metadata={METADATA_KEY: spec.to_json()})
    with pytest.raises(ModelError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("encoder.bn1.bias", lambda value: value.to(torch.int32), "expected float32, got int32"),
        ("encoder.bn1.bias", lambda value: value.to(torch.complex64), "expected float32, got complex64"),
        ("encoder.bn1.num_batches_tracked", lambda value: value.to(torch.bool), "expected int64, got bool"),
        ("encoder.bn1.num_batches_tracked", lambda value: value.float(), "expected int64, got float32"),
        ("encoder.bn1.bias", lambda value: value / 0, "expected finite weights, got infinity or NaN"),
    ],
)
def test_load_model_rejects_weights_of_another_type(
    net: BlitzNet, tmp_path: Path, name: str, change: Any, message: str
) -> None:
    weights = {key: value.contiguous() for key, value in net.state_dict().items()}
    weights[name] = change(weights[name])
    save_file(weights, tmp_path / "model.safetensors", metadata={METADATA_KEY: small_spec().to_json()})
    with pytest.raises(ModelError, match=rf"model\.safetensors: {name}: {message}"):
        load_model(tmp_path / "model.safetensors")


def test_load_model_reads_floats_of_any_width(net: BlitzNet, tmp_path: Path) -> None:
    weights = {key: value.contiguous() for key, value in net.state_dict().items()}
    weights["encoder.bn1.bias"] = weights["encoder.bn1.bias"].double()
    save_file(weights, tmp_path / "model.safetensors", metadata={METADATA_KEY: small_spec().to_json()})
    assert load_model(tmp_path / "model.safetensors")[0].state_dict()["encoder.bn1.bias"].dtype == torch.float32
