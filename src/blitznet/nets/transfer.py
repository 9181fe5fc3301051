"""Weights from a model of some classes to one of others: what is named in both is kept."""

import torch
from torch import Tensor, nn

from blitznet.core.classes import canonical
from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet


def transfer(old: BlitzNet, old_spec: Spec, new: BlitzNet, new_spec: Spec) -> tuple[str, ...]:
    """Copy every weight of `old` into `new`; gives the names of the classes that were carried over.

    Class logits and segmentation logits are copied row by row for background and the classes both know
    under any of their names; rows of other classes keep their fresh weights.
    """
    rows = _shared_rows(old_spec, new_spec)
    mine, theirs = new.state_dict(), old.state_dict()
    with torch.no_grad():
        for name in mine.keys() & theirs.keys():
            _copy(name, theirs[name], mine[name], rows, old_spec.channels, new_spec.channels)
    return tuple(new_spec.classes[to - 1] for _, to in rows if to)


def _shared_rows(old: Spec, new: Spec) -> list[tuple[int, int]]:
    known = {canonical(name): index for index, name in enumerate(old.classes, start=1)}
    pairs = [(known.get(canonical(name)), index) for index, name in enumerate(new.classes, start=1)]
    return [(0, 0), *((row, index) for row, index in pairs if row is not None)]


def _copy(name: str, source: Tensor, target: Tensor, rows: list[tuple[int, int]], before: int, after: int) -> None:
    """Copy one tensor; where only the first dimension differs it counts classes, once or for each anchor."""
    if source.shape == target.shape and before == after and all(row == to for row, to in rows) and len(rows) == after:
        target.copy_(source)
        return
    if not _counts_classes(name, source, before):
        if source.shape != target.shape:
            raise ModelError(
                f"{name}: wanted shape {tuple(target.shape)}, came {tuple(source.shape)}; the networks differ"
            )
        target.copy_(source)
        return
    taken, put = (list(column) for column in zip(*rows, strict=True))
    from_rows = source.view(-1, before, *source.shape[1:])
    to_rows = target.view(-1, after, *target.shape[1:])
    to_rows[:, put] = from_rows[:, taken]


def _counts_classes(name: str, source: Tensor, classes: int) -> bool:
    """Whether a tensor belongs to a layer that answers logits: those layers are named `logits`."""
    return ".logits." in f".{name}." and source.ndim > 0 and source.shape[0] % classes == 0


def class_layers(net: nn.Module) -> list[str]:
    """Names of the layers that answer logits, for tests of the naming rule."""
    return [name for name, _ in net.named_modules() if name.split(".")[-1] == "logits" or ".logits." in f".{name}."]
