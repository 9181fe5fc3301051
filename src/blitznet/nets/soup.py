"""The average of several trainings' weights: one network, as fast as each of them, that generalises better.

Trainings that began from the same weights end in the same valley of the loss; their mean lies nearer its middle
(Wortsman et al., "Model soups", ICML 2022).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from blitznet.core.errors import ModelError, UsageError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.model_files import load_model, network_from


def average_weights(paths: Sequence[Path], shares: Sequence[float] = ()) -> tuple[BlitzNet, Spec]:
    """The mean of models' weights, by `shares` or evenly, and its contract: the first one's, with all provenances.

    Scores are told as they are again: what was measured was so on other weights. Models may have been trained at
    different sizes. Raises UsageError for fewer than two models or shares that do not fit them, ModelError for models
    that are not of one network and one list of classes.
    """
    parts = _shares(len(paths), shares)
    models = [load_model(path) for path in paths]
    first = models[0][1]
    for path, (_, spec) in zip(paths, models, strict=True):
        _require_same(first, spec, first_path=paths[0], path=path)
    states = [net.state_dict() for net, _ in models]
    weights = {name: _mean([state[name] for state in states], parts) for name in states[0]}
    origins = "; ".join(
        f"({share:.2g}) {spec.provenance or path.name}"
        for path, (_, spec), share in zip(paths, models, parts, strict=True)
    )
    provenance = f"the weights' average of {len(paths)} models: {origins}"
    spec = replace(first.uncalibrated(), provenance=provenance)
    return network_from(spec, weights, source="average"), spec


def _shares(models: int, shares: Sequence[float]) -> list[float]:
    if models < 2:
        raise UsageError(f"an average wants two models or more, got {models}")
    if not shares:
        return [1 / models] * models
    if len(shares) != models or min(shares) <= 0:
        raise UsageError(f"expected a share above 0 for each of the {models} models, got {list(shares)}")
    return [share / sum(shares) for share in shares]


def _require_same(first: Spec, spec: Spec, *, first_path: Path, path: Path) -> None:
    for name in ("classes", "tasks", "network", "anchors", "mean", "std"):
        if getattr(first, name) != getattr(spec, name):
            raise ModelError(f"{path}: its {name} differ from those of {first_path}; an average wants one network")


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """Computed in float64; what is counted (batches a norm has seen) stays as it is in the first."""
    if not values[0].is_floating_point():
        return values[0]
    summed = sum((value.double() * share for value, share in zip(values, shares, strict=True)), torch.zeros(()))
    return summed.to(values[0].dtype)
