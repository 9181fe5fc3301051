"""Conversion of weights: TensorFlow checkpoints of the original implementation, and torchvision's encoders.

The input of the original is BGR in 0..255 minus a mean; ours is RGB, (x / 255 - mean) / std. With the same mean, its
input is 255 * std times ours in another channel order. So its first kernel is reordered to RGB and multiplied by
255 * std, and the outputs are equal. Kernels are transposed from (h, w, in, out) to (out, in, h, w).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.models import CAFFE_MEAN
from blitznet.core.npz import NPZ_ERRORS, read_npz
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import require_fit

_MAX_BYTES = 2 << 30
"""bytes of the variables of a checkpoint, at most"""
Variables = Mapping[str, NDArray[Any]]
"""arrays by their TensorFlow names, in TensorFlow's layout"""

_OPTIMIZER_STATE = re.compile(r"/(Adam|Adam_1|Momentum)$|(^|/)(beta[12]_power|global_step)$")
_FIRST_KERNEL = "resnet_v1_50/conv1/weights"

_UNIT = {"conv1": "conv1", "conv2": "conv2", "conv3": "conv3", "downsample.0": "shortcut"}
_UNIT |= {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3", "downsample.1": "shortcut"}
_RESSKIP = {"residual.0": "conv1", "residual.1": "conv2", "residual.2": "conv3", "project": "shortcut"}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def read_variables(path: Path) -> dict[str, NDArray[Any]]:
    """Read a checkpoint's variables.

    Args:
        path: An .npz or .safetensors file with the variables by their TensorFlow names.

    Raises:
        ModelError: The file cannot be read as either.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return read_npz(path, limit=_MAX_BYTES)
    except (SafetensorError, *NPZ_ERRORS) as error:
        raise ModelError(
            f"{path}: expected variables as .npz or .safetensors, got an unreadable file ({error})"
        ) from error


def convert_weights(variables: Variables, spec: Spec) -> dict[str, Tensor]:
    """Convert a checkpoint of the original implementation.

    Args:
        variables: Its variables. The state of an optimizer is ignored.
        spec: The spec of the network.

    Returns:
        The state dict of that network, float32.

    Raises:
        ModelError: The original has no such network, variables are missing or unknown, or a shape differs.
    """
    _require_original_network(spec)
    with torch.device("meta"):
        expected = build(spec).state_dict()
    names = {key: variable_name(key, spec) for key in expected if not key.endswith("num_batches_tracked")}
    _require_names({*names.values()}, {name for name in variables if not _OPTIMIZER_STATE.search(name)})
    for key, name in names.items():
        _require_shape(name, variables[name], expected[key], spec)
    state = {key: torch.zeros((), dtype=torch.long) for key in expected if key not in names}
    return state | {key: _convert(name, variables[name], spec) for key, name in names.items()}


def match_original(spec: Spec) -> Spec:
    """The spec with feature maps resized as in the original implementation."""
    # TensorFlow 1's bilinear resizing in the fusion blocks, nearest neighbor in the segmentation head.
    return replace(spec, network=replace(spec.network, fusion_resize="legacy", segmentation_resize="nearest"))


def variable_name(key: str, spec: Spec) -> str:
    """The original's name of a weight, from its key in the state dict of a `blitznet` network."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return f"resnet_v1_50/{_encoder_name(rest)}"
    if part == "downscale":
        block, unit, name = _split_block(rest, "blocks")
        return f"ssd/block{block + 5}/{_unit_name(unit, name)}"
    if part == "upscale":
        _, block_text, name = rest.split(".", 2)
        layer, kind, leaf = name.rsplit(".", 2)
        return f"{_upscale_block(int(block_text), spec)}/{_RESSKIP[layer]}/{_variable_leaf(kind == 'norm', leaf)}"
    return _head_name(rest, spec)


def load_resnet(net: BlitzNet, weights: Mapping[str, Tensor]) -> None:
    """Load a torchvision-style state dict of a ResNet into a network's encoder; its classifier is ignored.

    Args:
        net: The network; its encoder is changed.
        weights: The state dict.

    Raises:
        ModelError: The weights are those of another encoder.
    """
    state = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    own = net.encoder.state_dict()
    # State dicts from before torch 0.4.1 have no batch counts.
    counts = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    state = {**counts, **state}
    require_fit(own, state, source="encoder weights")
    net.encoder.load_state_dict(state)


def _require_original_network(spec: Spec) -> None:
    network = spec.network
    if (network.family, network.encoder, network.fusion) != ("blitznet", "resnet50-caffe", "resskip"):
        raise ModelError(
            f"{spec.name}: expected a ResSkip network on resnet50-caffe, got {network.family}, {network.fusion} on "
            f"{network.encoder}; choose one of blitznet300/512-s4/s8"
        )
    if not np.allclose(spec.mean, CAFFE_MEAN, atol=1e-6):
        raise ModelError(f"{spec.name}: expected the mean {CAFFE_MEAN}, got {spec.mean}")


def _require_names(expected: set[str], actual: set[str]) -> None:
    missing, unknown = sorted(expected - actual), sorted(actual - expected)
    if not missing and not unknown:
        return
    counts = [
        f"{len(names)} {kind} ({', '.join(names[:3])})"
        for kind, names in (("missing", missing), ("unknown", unknown))
        if names
    ]
    other_model = any(
        block in name for name in (*missing, *unknown) for block in ("block_rev1/", "block8/", "block_rev7/")
    )
    hint = "; it has another stride or size, choose another of blitznet300/512-s4/s8" if other_model else ""
    raise ModelError(f"the checkpoint: expected {len(expected)} variables, got {' and '.join(counts)}{hint}")


def _require_shape(name: str, array: NDArray[Any], expected: Tensor, spec: Spec) -> None:
    actual = _to_torch_layout(array).shape
    if actual != tuple(expected.shape):
        raise ModelError(
            f"{name}: expected shape {tuple(expected.shape)}, got {actual}{_shape_hint(name, actual, spec)}"
        )


def _to_torch_layout(array: NDArray[Any]) -> NDArray[Any]:
    """A kernel from (h, w, in, out) to (out, in, h, w); other arrays unchanged."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def _convert(name: str, array: NDArray[Any], spec: Spec) -> Tensor:
    value = torch.from_numpy(np.array(_to_torch_layout(array), np.float32, order="C"))
    if name == _FIRST_KERNEL:
        value = value.flip(1) * 255 * torch.tensor(spec.std).view(1, 3, 1, 1)
    return value


def _shape_hint(name: str, actual: tuple[int, ...], spec: Spec) -> str:
    """The likely reason of a wrong shape; empty if it is not one of the common ones."""
    anchors = spec.anchors.num_anchors_per_cell
    is_classifier = name.startswith(f"ssd/Conv_{len(spec.anchors.strides) + 1}/")
    if is_classifier or (name.startswith("ssd/confidence/") and actual[0] % anchors == 0):
        num_classes = actual[0] // (1 if is_classifier else anchors) - 1
        return f"; the checkpoint has {_class_list(num_classes)}, the spec {_class_list(len(spec.classes))}"
    if name.startswith("ssd/Conv") and actual[2:] == (3, 3):
        return "; the first checkpoints of the original have 3x3 convolutions there and cannot be converted"
    return ""


def _class_list(num_classes: int) -> str:
    names = {20: " (VOC)", 80: " (COCO)"}
    return f"{num_classes} classes{names.get(num_classes, '')}"


def _encoder_name(rest: str) -> str:
    if not rest.startswith("layer"):
        layer, leaf = rest.split(".")
        return f"conv1/{_variable_leaf(layer == 'bn1', leaf)}"
    block, unit, name = rest.removeprefix("layer").split(".", 2)
    return f"block{block}/{_unit_name(int(unit), name)}"


def _unit_name(unit: int, name: str) -> str:
    layer, leaf = name.rsplit(".", 1)
    norm = layer.startswith("bn") or layer == "downsample.1"
    return f"unit_{unit + 1}/bottleneck_v1/{_UNIT[layer]}/{_variable_leaf(norm, leaf)}"


def _head_name(rest: str, spec: Spec) -> str:
    maps = [*(_upscale_block(k, spec) for k in range(len(spec.anchors.strides))), "ssd/pool6"]
    layer, *index_text, leaf = rest.split(".")
    index = int(index_text[0]) if index_text else len(maps)
    variable = "weights" if leaf == "weight" else "biases"
    if layer == "offsets":
        return f"ssd/location/{maps[index]}/{variable}"
    if layer == "logits":
        return f"ssd/confidence/{maps[index]}/{variable}"
    return f"ssd/Conv{f'_{index}' if index else ''}/{variable}"


def _upscale_block(index: int, spec: Spec) -> str:
    """The original numbers upscale blocks as the encoder's: stride 4 is block 1."""
    return f"ssd_back/block_rev{spec.anchors.strides[index].bit_length() - 2}"


def _split_block(rest: str, container: str) -> tuple[int, int, str]:
    block, unit, name = rest.removeprefix(f"{container}.").split(".", 2)
    return int(block), int(unit), name


def _variable_leaf(norm: bool, leaf: str) -> str:
    return f"BatchNorm/{_NORM[leaf]}" if norm else "weights"
