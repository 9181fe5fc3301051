"""Model soups: the mean of the weights of several trainings, or of a training and its initial weights (WiSE-FT).

Trainings that start from the same weights tend to end in one basin of the loss, and the mean of their weights often
generalizes better than each of them at the cost of one (Wortsman et al., "Model soups", ICML 2022). The mean with the
initial weights keeps more of what they know (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.model_files import load_model, network_from


def average_weights(paths: Sequence[Path], weights: Sequence[float] = ()) -> tuple[BlitzNet, Spec]:
    """Average the weights of models.

    Args:
        paths: Two or more model files of one network with the same classes. Their input sizes may differ.
        weights: A positive weight for each model, of any sum. Default: equal weights.

    Returns:
        The network, and the first model's spec with the provenance of all models. Score calibration is dropped: it was
        fitted to other weights.

    Raises:
        UsageError: There are fewer than two models, or the weights do not fit them.
        ModelError: The models are not of one network or not of the same classes.
    """
    normalized = _normalize_weights(len(paths), weights)
    models = [load_model(path) for path in paths]
    first = models[0][1]
    for path, (_, spec) in zip(paths, models, strict=True):
        _require_same_network(first, spec, first_path=paths[0], path=path)
    states = [net.state_dict() for net, _ in models]
    state = {name: _weighted_mean([state[name] for state in states], normalized) for name in states[0]}
    origins = "; ".join(
        f"({weight:.2g}) {spec.provenance or path.name}"
        for path, (_, spec), weight in zip(paths, models, normalized, strict=True)
    )
    provenance = f"weight average of {len(paths)} models: {origins}"
    spec = replace(first.uncalibrated(), provenance=provenance)
    return network_from(spec, state, source="soup"), spec


def mix_in_weights(net: BlitzNet, initial: BlitzNet, fraction: float, names: Collection[str]) -> None:
    """Mix a fraction of the initial weights into a trained network (WiSE-FT).

    Args:
        net: The trained network; it is changed.
        initial: A network of the same architecture and classes with the initial weights.
        fraction: Weight of the initial weights, 0..1.
        names: The parameters and buffers to mix; the trained values of others stay.
    """
    state, initial_state = net.state_dict(), initial.state_dict()
    with torch.no_grad():
        for name in names:
            value = _weighted_mean([state[name], initial_state[name]], (1 - fraction, fraction))
            state[name].copy_(value)


def _normalize_weights(count: int, weights: Sequence[float]) -> list[float]:
    """One weight for each of `count` models, summing to 1."""
    if count < 2:
        raise UsageError(f"expected two or more models to average, got {count}")
    if not weights:
        return [1 / count] * count
    if len(weights) != count or min(weights) <= 0:
        raise UsageError(f"--weights: expected a number above 0 for each of the {count} models, got {list(weights)}")
    return [weight / sum(weights) for weight in weights]


def _require_same_network(first: Spec, spec: Spec, *, first_path: Path, path: Path) -> None:
    for name in ("classes", "tasks", "detection_classes", "segmentation_classes", "network", "anchors", "mean", "std"):
        if getattr(first, name) != getattr(spec, name):
            raise ModelError(f"{path}: expected the {name} of {first_path}, got others; average models of one network")


def _weighted_mean(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Computed in float64. Integers, such as the batch counts of norms, are taken from the first model."""
    if not values[0].is_floating_point():
        return values[0]
    total = sum((value.double() * weight for value, weight in zip(values, weights, strict=True)), torch.zeros(()))
    return total.to(values[0].dtype)
