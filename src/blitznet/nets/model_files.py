"""Model files for PyTorch: safetensors with the spec in their metadata, written atomically."""

import json
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
    weights, text = _read(Path(path))
    spec = read_spec(text, source=str(path))
    if text is not None and json.loads(text).get("version", 1) == 1:
        weights = upgrade_v1_weights(weights)
    return network_from(spec, weights, source=str(path)), spec


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
    # On the meta device nothing is allocated or initialized. All weights are assigned below; the network has no tensors
    # outside its state dict.
    try:
        with torch.device("meta"):
            net = build(spec)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    require_fit(net.state_dict(), weights, source=source)
    _require_types(net.state_dict(), weights, source=source)
    net.load_state_dict(weights, assign=True)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    return net


def require_fit(expected: dict[str, Tensor], actual: dict[str, Tensor], *, source: str) -> None:
    """Raise ModelError unless two state dicts have the same names and shapes."""
    missing, unknown = expected.keys() - actual.keys(), actual.keys() - expected.keys()
    for kind, names in (("missing", missing), ("unknown", unknown)):
        if names:
            first = ", ".join(sorted(names)[:3])
            raise ModelError(f"{source}: expected {len(expected)} weights, got {len(names)} {kind}: {first}")
    for name, value in expected.items():
        if value.shape != actual[name].shape:
            raise ModelError(f"{source}: {name}: expected shape {tuple(value.shape)}, got {tuple(actual[name].shape)}")


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


def _read(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The weights, floats as float32, and the JSON of the spec, None if the file has none."""
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            metadata: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError, AttributeError) as error:  # AttributeError: a type that torch lacks
        raise ModelError(f"{path}: cannot be read as safetensors ({error})") from error
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{path}: {name}: expected finite weights, got infinity or NaN; the file is damaged")
    return weights, metadata.get(METADATA_KEY)
