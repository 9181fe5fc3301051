"""Weights of a model of some classes for one of others: classes that both have keep their weights."""

import math

import torch
from torch import Tensor

from blitznet.core.classes import canonical
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.model_files import require_fit

BOX_SHARE, PIXEL_SHARE = 0.01, 0.1
"""initial probability of all new classes together, as a fraction of the old background's: anchors, pixels"""

ChannelPairs = list[tuple[int, int]]
"""channels of a class in the old network and in the new one; background first"""


def transfer(old: BlitzNet, old_spec: Spec, new: BlitzNet, new_spec: Spec) -> tuple[str, ...]:
    """Copy the weights of `old` into `new`.

    Of layers that return logits, the channels of background and of every class that both models have, under any of its
    names, are copied; those of new classes keep their initialization. A head that only one of them has is skipped.

    Args:
        old: The trained network.
        old_spec: Its spec.
        new: The network to change, of the same architecture.
        new_spec: Its spec.

    Returns:
        The new names of the classes that were copied.

    Raises:
        ModelError: The networks differ in more than their classes and heads.
    """
    pairs = match_classes(old_spec.classes, new_spec.classes)
    layers = class_layers(new)
    target, source = _shared_weights(new, old), _shared_weights(old, new)
    copied = {
        name: _remap_classes(value, target[name], pairs, old_spec.num_channels, new_spec.num_channels)
        if name in target and name.rpartition(".")[0] in layers
        else value
        for name, value in source.items()
    }
    require_fit(target, copied, source=f"{old_spec.name} as initialization of {new_spec.name}")
    with torch.no_grad():
        for name, value in copied.items():
            target[name].copy_(value)
    return tuple(new_spec.classes[new_channel - 1] for _, new_channel in pairs if new_channel)


def init_new_classes(net: BlitzNet, num_old: int, spec: Spec) -> None:
    """Initialize new classes from background, of which they were part for the old model.

    Every new class gets the weights of background with a smaller bias, and background's bias decreases. The summed
    probability of background and the new classes is then the old model's probability of background.
    Source: Cermelli et al., Modeling the background for incremental learning in semantic segmentation, 2020.

    Args:
        net: A network whose first classes are those of the old model; it is changed.
        num_old: Number of those classes.
        spec: Its spec.
    """
    num_new = len(spec.classes) - num_old
    if not num_new:
        return
    heads = ((net.detection, BOX_SHARE), (net.segmentation, PIXEL_SHARE), (net.ssd_head, None))
    for head, share in heads:
        for layer in () if head is None else head.class_layers():
            assert layer.bias is not None
            weight = layer.weight.data.view(-1, spec.num_channels, *layer.weight.shape[1:])  # (P, C, ...)
            bias = layer.bias.data.view(-1, spec.num_channels)
            weight[:, 1 + num_old :], bias[:, 1 + num_old :] = weight[:, :1], bias[:, :1]
            if share is not None:  # the SSD head is added to the detection head, which has the share
                bias[:, 1 + num_old :] += math.log(share / num_new)
                bias[:, 0] += math.log1p(-share)


def class_layers(net: BlitzNet) -> frozenset[str]:
    """Names of the layers with a channel for each class."""
    heads = (net.detection, net.segmentation, net.ssd_head)
    layers = {layer for head in heads if head is not None for layer in head.class_layers()}
    return frozenset(name for name, module in net.named_modules() if module in layers)


def match_classes(old: tuple[str, ...], new: tuple[str, ...]) -> ChannelPairs:
    """Which class channel of the old network becomes which of the new; the same spelling precedes a synonym."""
    exact = {name: channel for channel, name in enumerate(old, start=1)}
    synonyms = {canonical(name): channel for channel, name in reversed(list(enumerate(old, start=1)))}
    sources = [exact.get(name, synonyms.get(canonical(name))) for name in new]
    return [(0, 0), *((source, channel) for channel, source in enumerate(sources, start=1) if source is not None)]


def _shared_weights(net: BlitzNet, reference: BlitzNet) -> dict[str, Tensor]:
    """The weights of those parts that both networks have."""
    parts = {name for name, _ in net.named_children()} & {name for name, _ in reference.named_children()}
    return {name: value for name, value in net.state_dict().items() if name.partition(".")[0] in parts}


def _remap_classes(source: Tensor, target: Tensor, pairs: ChannelPairs, old_channels: int, new_channels: int) -> Tensor:
    """The target with the source's rows of shared classes; the source itself if the shapes do not fit."""
    old = source.reshape(-1, old_channels, *source.shape[1:])  # (P, C, ...)
    new = target.reshape(-1, new_channels, *target.shape[1:])
    if old.shape[0] != new.shape[0] or old.shape[2:] != new.shape[2:]:
        return source
    old_indices, new_indices = (list(column) for column in zip(*pairs, strict=True))
    remapped = new.clone()
    remapped[:, new_indices] = old[:, old_indices]
    return remapped.reshape(target.shape)
