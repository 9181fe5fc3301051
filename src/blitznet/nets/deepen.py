"""Weights of a light network for one that predicts on one coarser map more: the maps that both have keep theirs."""

from collections.abc import Mapping

import torch
from torch import Tensor

_BY_MAP = ("detection.offsets", "detection.logits", "segmentation.reduce")
"""lists with a layer for each map that predicts, the pooled one last"""
_JOIN, _WEIGH = "segmentation.fuse.0.conv.weight", "detection_prior.level_weights."
"""layers with channels for each map: those that go in, and those that come out"""


def deepened(old: Mapping[str, Tensor], fresh: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """`old` under the names of the deeper network, filled up with `fresh` weights.

    count: the old network's maps that predict, without the pooled one, whose place is one later now. The upscale
    stream's deepest block has another map below it, so it begins afresh.
    """
    deepest = f"upscale.blocks.{count - 1}."
    named = {_renamed(name, count): value for name, value in old.items() if not name.startswith(deepest)}
    for name, value in named.items():
        if name == _JOIN:
            named[name] = _inserted(value, fresh[name], count, axis=1)
        elif name.startswith(_WEIGH):
            named[name] = _inserted(value, fresh[name], count, axis=0)
    return {name: named[name] if _fits(named.get(name), value) else value for name, value in fresh.items()}


def _renamed(name: str, count: int) -> str:
    for stem in _BY_MAP:
        if name.startswith(f"{stem}.{count}."):
            return f"{stem}.{count + 1}." + name.removeprefix(f"{stem}.{count}.")
    return name


def _inserted(old: Tensor, fresh: Tensor, count: int, axis: int) -> Tensor:
    """The new map's channels are 0 at first: what the others say stays what it is."""
    wide = fresh.shape[axis] - old.shape[axis]
    before, pooled = old.narrow(axis, 0, count * wide), old.narrow(axis, count * wide, wide)
    return torch.cat([before, torch.zeros_like(before.narrow(axis, 0, wide)), pooled], axis)


def _fits(value: Tensor | None, expected: Tensor) -> bool:
    return value is not None and value.shape == expected.shape
