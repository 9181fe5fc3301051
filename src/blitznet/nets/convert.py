"""Weights of others into ours: the release's TensorFlow checkpoints, torchvision's encoders.

The release fed BGR in 0..255 minus a mean, ours is fed RGB as (x / 255 - mean) / std. With the same
mean, its input is 255 * std times ours in another order, so its first kernel is turned to RGB and
multiplied by 255 * std: the outputs are equal. Kernels go from (h, w, in, out) to (out, in, h, w).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from blitznet.core.errors import ModelError
from blitznet.core.models import CAFFE_MEAN
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import require_fit

Variables = Mapping[str, NDArray[Any]]
"""arrays by their TensorFlow names, shapes as TensorFlow stores them"""

_SLOT = re.compile(r"/(Adam|Adam_1|Momentum)$|(^|/)(beta[12]_power|global_step)$")
_FIRST = "resnet_v1_50/conv1/weights"

_UNIT = {"conv1": "conv1", "conv2": "conv2", "conv3": "conv3", "downsample.0": "shortcut"}
_UNIT |= {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3", "downsample.1": "shortcut"}
_RESSKIP = {"residual.0": "conv1", "residual.1": "conv2", "residual.2": "conv3", "project": "shortcut"}
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def read_variables(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name from an .npz or .safetensors file. Raises ModelError where it is neither."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, BadZipFile, SafetensorError) as error:
        raise ModelError(f"{path}: expected variables as .npz or .safetensors, cannot read them ({error})") from error


def convert_weights(variables: Variables, spec: Spec) -> dict[str, Tensor]:
    """Our state dict, float32, from the release's variables; an optimizer's slots are passed over.

    Raises ModelError where the contract is not one that the release has, where variables are missing
    or left over, and where a shape differs.
    """
    _require_release(spec)
    with torch.device("meta"):
        expected = build(spec).state_dict()
    names = {key: variable_name(key, spec) for key in expected if not key.endswith("num_batches_tracked")}
    _require_names({*names.values()}, {name for name in variables if not _SLOT.search(name)})
    for key, name in names.items():
        _require_shape(name, variables[name], expected[key], spec)
    state = {key: torch.zeros((), dtype=torch.long) for key in expected if key not in names}
    return state | {key: _converted(name, variables[name], spec) for key, name in names.items()}


def variable_name(key: str, spec: Spec) -> str:
    """The release's name of one of our weights, by its key in the state dict of a `blitznet` network."""
    part, rest = key.split(".", 1)
    if part == "encoder":
        return f"resnet_v1_50/{_encoder_name(rest)}"
    if part == "downscale":
        block, unit, name = _split(rest, "blocks")
        return f"ssd/block{block + 5}/{_unit_name(unit, name)}"
    if part == "upscale":
        _, block_text, name = rest.split(".", 2)
        inside, kind, value = name.rsplit(".", 2)
        return f"{_skip(int(block_text), spec)}/{_RESSKIP[inside]}/{_value(kind == 'norm', value)}"
    return _head_name(rest, spec)


def load_encoder(net: BlitzNet, weights: Mapping[str, Tensor]) -> None:
    """Put torchvision-style weights of a whole ResNet into the network's encoder; its classifier is left out.

    Raises ModelError where they belong to another encoder.
    """
    given = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    own = net.encoder.state_dict()
    # State dicts from before torch 0.4.1 do not count batches.
    counted = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    given = {**counted, **given}
    require_fit(own, given, source="encoder weights")
    net.encoder.load_state_dict(given)


def _require_release(spec: Spec) -> None:
    network = spec.network
    if (network.family, network.encoder, network.fusion) != ("blitznet", "resnet50-caffe", "resskip"):
        raise ModelError(
            f"{spec.name}: the release has ResSkip networks on resnet50-caffe only, got "
            f"{network.family}, {network.fusion} on {network.encoder}; choose one of blitznet300/512-s4/s8"
        )
    if not np.allclose(spec.mean, CAFFE_MEAN, atol=1e-6):
        raise ModelError(f"{spec.name}: the release's weights want the mean {CAFFE_MEAN}, got {spec.mean}")


def _require_names(expected: set[str], actual: set[str]) -> None:
    missing, unknown = sorted(expected - actual), sorted(actual - expected)
    if not missing and not unknown:
        return
    parts = [
        f"{what} {len(names)}: {', '.join(names[:3])}"
        for what, names in (("misses", missing), ("adds", unknown))
        if names
    ]
    blocks = {
        name for name in (*missing, *unknown) if "block_rev1/" in name or "block8/" in name or "block_rev7/" in name
    }
    hint = "; it is of another stride or size, choose another of blitznet300/512-s4/s8" if blocks else ""
    raise ModelError(f"the checkpoint {' and '.join(parts)}{hint}")


def _require_shape(name: str, array: NDArray[Any], expected: Tensor, spec: Spec) -> None:
    actual = _turned(array).shape
    if actual != tuple(expected.shape):
        raise ModelError(f"{name}: expected shape {tuple(expected.shape)}, got {actual}{_why(name, actual, spec)}")


def _turned(array: NDArray[Any]) -> NDArray[Any]:
    """A kernel from (h, w, in, out) to (out, in, h, w); anything else as it is."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def _converted(name: str, array: NDArray[Any], spec: Spec) -> Tensor:
    value = torch.from_numpy(np.array(_turned(array), np.float32, order="C"))
    if name == _FIRST:
        value = value.flip(1) * 255 * torch.tensor(spec.std).view(1, 3, 1, 1)
    return value


def _why(name: str, actual: tuple[int, ...], spec: Spec) -> str:
    """What a wrong shape means in words, where it is one that users meet."""
    anchors = spec.anchors.num_anchors_per_cell
    last = name.startswith(f"ssd/Conv_{len(spec.anchors.strides) + 1}/")
    if last or (name.startswith("ssd/confidence/") and actual[0] % anchors == 0):
        classes = actual[0] // (1 if last else anchors) - 1
        return f"; the checkpoint knows {_set(classes)}, the contract {_set(len(spec.classes))}"
    if name.startswith("ssd/Conv") and actual[2:] == (3, 3):
        return "; the release's first checkpoints had 3x3 convolutions there and cannot be converted"
    return ""


def _set(classes: int) -> str:
    known = {20: " (VOC)", 80: " (COCO)"}
    return f"{classes} classes{known.get(classes, '')}"


def _encoder_name(rest: str) -> str:
    if not rest.startswith("layer"):
        kind, value = rest.split(".")
        return f"conv1/{_value(kind == 'bn1', value)}"
    block, unit, name = rest.removeprefix("layer").split(".", 2)
    return f"block{block}/{_unit_name(int(unit), name)}"


def _unit_name(unit: int, name: str) -> str:
    inside, value = name.rsplit(".", 1)
    norm = inside.startswith("bn") or inside == "downsample.1"
    return f"unit_{unit + 1}/bottleneck_v1/{_UNIT[inside]}/{_value(norm, value)}"


def _head_name(rest: str, spec: Spec) -> str:
    maps = [*(_skip(k, spec) for k in range(len(spec.anchors.strides))), "ssd/pool6"]
    kind, *index, value = rest.split(".")
    place = int(index[0]) if index else len(maps)
    last = "weights" if value == "weight" else "biases"
    if kind == "offsets":
        return f"ssd/location/{maps[place]}/{last}"
    if kind == "logits":
        return f"ssd/confidence/{maps[place]}/{last}"
    return f"ssd/Conv{f'_{place}' if place else ''}/{last}"


def _skip(index: int, spec: Spec) -> str:
    """The release counts upscale blocks by the encoder's: stride 4 is block 1."""
    return f"ssd_back/block_rev{spec.anchors.strides[index].bit_length() - 2}"


def _split(rest: str, container: str) -> tuple[int, int, str]:
    block, unit, name = rest.removeprefix(f"{container}.").split(".", 2)
    return int(block), int(unit), name


def _value(norm: bool, value: str) -> str:
    return f"BatchNorm/{_NORM[value]}" if norm else "weights"
