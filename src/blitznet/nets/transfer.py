"""Weights from a model of some classes to one of others: what is named in both is kept."""

import torch
from torch import Tensor

from blitznet.core.classes import canonical
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.deepen import deepened
from blitznet.nets.model_files import require_fit

Rows = list[tuple[int, int]]
"""channels that carry over: in the old network, in the new one; background first"""

_TAPPED = ("segmentation.laterals.", "segmentation.residual_block.")
"""parts that say nothing at first"""


def transfer(old: BlitzNet, old_spec: Spec, new: BlitzNet, new_spec: Spec) -> tuple[str, ...]:
    """Copy the weights of `old` into `new`; gives the new names of the classes that were carried over.

    Of the layers that answer logits, the channels of background and of every class that both know, under any of
    its names, are copied; those of new classes keep their fresh weights. A head that only one of the two has is
    left out; one coarser map, and what the class map taps, begin afresh where only the new one has them. Raises
    ModelError where the networks differ in anything else.
    """
    rows = shared_rows(old_spec.classes, new_spec.classes)
    counting = class_layers(new)
    mine, theirs = _shared_weights(new, old), _shared_weights(old, new)
    carried = {
        name: _dealt(value, mine[name], rows, old_spec.num_channels, new_spec.num_channels)
        if name in mine and name.rpartition(".")[0] in counting
        else value
        for name, value in theirs.items()
    }
    if len(new_spec.anchors.strides) == len(old_spec.anchors.strides) + 1:
        carried = deepened(carried, mine, len(old_spec.anchors.strides))
    if new_spec.network.lateral_channels and not old_spec.network.lateral_channels:
        carried = {name: value for name, value in mine.items() if name.startswith(_TAPPED)} | carried
    require_fit(mine, carried, source=f"{old_spec.name} as the start of {new_spec.name}")
    with torch.no_grad():
        for name, value in carried.items():
            mine[name].copy_(value)
    return tuple(new_spec.classes[to - 1] for _, to in rows if to)


def class_layers(net: BlitzNet) -> frozenset[str]:
    """Names of the layers whose channels count classes, as the heads tell them."""
    heads = (net.detection, net.segmentation, net.ssd_head)
    layers = {layer for head in heads if head is not None for layer in head.class_layers()}
    return frozenset(name for name, module in net.named_modules() if module in layers)


def shared_rows(old: tuple[str, ...], new: tuple[str, ...]) -> Rows:
    """Which class channel of the old network becomes which of the new; equal spelling goes before equal meaning."""
    exact = {name: channel for channel, name in enumerate(old, start=1)}
    alike = {canonical(name): channel for channel, name in reversed(list(enumerate(old, start=1)))}
    found = [exact.get(name, alike.get(canonical(name))) for name in new]
    return [(0, 0), *((channel, to) for to, channel in enumerate(found, start=1) if channel is not None)]


def _shared_weights(net: BlitzNet, other: BlitzNet) -> dict[str, Tensor]:
    """The weights of those parts that both networks have."""
    parts = {name for name, _ in net.named_children()} & {name for name, _ in other.named_children()}
    return {name: value for name, value in net.state_dict().items() if name.partition(".")[0] in parts}


def _dealt(source: Tensor, fresh: Tensor, rows: Rows, before: int, after: int) -> Tensor:
    """The fresh tensor with the rows of known classes put in; the source as it is where that cannot be done."""
    old, new = source.reshape(-1, before, *source.shape[1:]), fresh.reshape(-1, after, *fresh.shape[1:])  # (P, C, ...)
    if old.shape[0] != new.shape[0] or old.shape[2:] != new.shape[2:]:
        return source
    taken, put = (list(column) for column in zip(*rows, strict=True))
    dealt = new.clone()
    dealt[:, put] = old[:, taken]
    return dealt.reshape(fresh.shape)
