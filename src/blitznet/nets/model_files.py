"""Model files for PyTorch: safetensors with the spec in their metadata, written atomically."""

import json
from collections.abc import Set
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from blitznet.core.errors import ModelError
from blitznet.core.files import atomic_write
from blitznet.core.spec import METADATA_KEY, Spec, read_spec
from blitznet.nets.blitznet import BlitzNet, build


def save_model(path: Path, net: nn.Module, spec: Spec, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights and spec to a file. An existing file stays intact until the new one is complete.

    Args:
        path: The file, `.safetensors`. Missing parent folders are created.
        net: The network.
        spec: Its spec.
        dtype: Type in which kernels are stored. Biases and batch norms stay float32: they are few and sensitive.

    Raises:
        ModelError: A weight is not finite or overflows `dtype`.
        UsageError: The file cannot be written.
    """
    weights = {name: _to_stored(name, value, dtype) for name, value in net.state_dict().items()}
    atomic_write(Path(path), save(weights, metadata={METADATA_KEY: spec.to_json()}))


def load_model(path: Path) -> tuple[BlitzNet, Spec]:
    """Read a network and its spec. Weights of a version 1 file get their new names in memory; the file stays as it is.

    Args:
        path: The file, `.safetensors`.

    Returns:
        The network (float32, on the CPU, in training mode) and its spec.

    Raises:
        ModelError: The file is missing, is not a blitznet model, or its weights do not fit its spec.
    """
    source = str(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            spec = read_spec(text, source=source)
            net = _build_on_meta(spec, source=source)
            is_v1 = text is not None and json.loads(text).get("version", 1) == 1
            names = {_upgrade_v1_name(name) if is_v1 else name: name for name in file.keys()}  # noqa: SIM118 - not a dict
            # Before a tensor is read: a file may contain any number, of any size.
            _require_names(net.state_dict().keys(), names.keys(), source=source)
            weights = {name: _read_tensor(file.get_tensor(stored), name, source) for name, stored in names.items()}
    except (OSError, SafetensorError, AttributeError, NotImplementedError) as error:  # the last two: types torch lacks
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from error
    _assign(net, weights, source=source)
    return net, spec


_V1_PREFIXES = {
    "side.finest.": "ssd_head.finest_logits.",
    "side.": "ssd_head.",
    "guide.weigh.": "detection_prior.level_weights.",
    "guide.gate.": "detection_prior.foreground_gate.",
    "segmentation.join.": "segmentation.fuse.",
    "segmentation.taps.": "segmentation.laterals.",
    "segmentation.block.": "segmentation.residual_block.",
    "segmentation.detail.": "segmentation.fine_lateral.",
    "segmentation.classify.": "segmentation.classifier.",
}
"""prefix of a weight's name in version 1 -> prefix in version 2; the first that matches applies"""


def upgrade_v1_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a version 1 file under the names of version 2, in the same order."""
    return {_upgrade_v1_name(name): value for name, value in weights.items()}


def _upgrade_v1_name(name: str) -> str:
    """The version 2 name of a weight; most names are the same in both versions."""
    for old, new in _V1_PREFIXES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def network_from(spec: Spec, weights: dict[str, Tensor], *, source: str) -> BlitzNet:
    """Build the network of a spec around existing weights, without copying them.

    Args:
        spec: The spec.
        weights: The complete state dict. Its tensors become those of the network.
        source: Name of the file that the weights come from, for errors.

    Returns:
        The network in training mode; every parameter requires a gradient.

    Raises:
        ModelError: The network cannot be built, or names, shapes or types of the weights differ from its own.
    """
    net = _build_on_meta(spec, source=source)
    _assign(net, weights, source=source)
    return net


def _build_on_meta(spec: Spec, *, source: str) -> BlitzNet:
    """The network on the meta device, where nothing is allocated or initialized."""
    try:
        with torch.device("meta"):
            return build(spec)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error


def _assign(net: BlitzNet, weights: dict[str, Tensor], *, source: str) -> None:
    """Make the weights those of a network, which has no tensors outside its state dict."""
    require_fit(net.state_dict(), weights, source=source)
    _require_types(net.state_dict(), weights, source=source)
    net.load_state_dict(weights, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_(True)


def require_fit(expected: dict[str, Tensor], actual: dict[str, Tensor], *, source: str) -> None:
    """Raise ModelError unless two state dicts have the same names and shapes."""
    _require_names(expected.keys(), actual.keys(), source=source)
    for name, value in expected.items():
        if value.shape != actual[name].shape:
            raise ModelError(f"{source}: {name}: expected shape {tuple(value.shape)}, got {tuple(actual[name].shape)}")


def _require_names(expected: Set[str], actual: Set[str], *, source: str) -> None:
    for kind, names in (("missing", expected - actual), ("unknown", actual - expected)):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise ModelError(f"{source}: expected {len(expected)} weights, got {len(names)} {kind}: {first}")


def _require_types(expected: dict[str, Tensor], actual: dict[str, Tensor], *, source: str) -> None:
    """Raise ModelError if floats and whole numbers are exchanged, or the whole numbers are of another type."""
    for name, value in expected.items():
        are_floats = value.is_floating_point() and actual[name].is_floating_point()
        if not are_floats and value.dtype != actual[name].dtype:
            types = (str(dtype).removeprefix("torch.") for dtype in (value.dtype, actual[name].dtype))
            raise ModelError(f"{source}: {name}: expected {next(types)}, got {next(types)}")


def _to_stored(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight as the file stores it: kernels (two or more dimensions) in `dtype`. Raises ModelError if not finite."""
    is_kernel = value.is_floating_point() and value.ndim > 1
    stored = value.detach().to("cpu", dtype if is_kernel else value.dtype).contiguous()
    if stored.is_floating_point() and not stored.isfinite().all():
        raise ModelError(f"{name}: expected finite weights, got one that is not finite as {stored.dtype}; not saved")
    return stored


def _read_tensor(value: Tensor, name: str, source: str) -> Tensor:
    """A stored tensor; floats as float32. Raises ModelError if one is not finite."""
    if not value.is_floating_point():
        return value
    value = value.float()
    if not value.isfinite().all():
        raise ModelError(f"{source}: {name}: expected finite weights, got infinity or NaN; the file is damaged")
    return value
