"""Distillation: the predictions of a frozen teacher as targets beside the labels.

A teacher receives the images and their labels, and returns targets that know their loss. Two exist: SSDLite's class
scores (here), and the model that a run begins with (keep.py).
Source: Hinton et al., Distilling the knowledge in a neural network, 2015.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from blitznet.nets.parts import HeadOutputs
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from blitznet.train.batch import Batch
from blitznet.train.matching import Targets

_MIN_TEACHER_OBJECTNESS = 0.02
"""minimum probability of an object, by SSDLite, of an anchor with a distillation loss"""


class TeacherTargets(Protocol):
    """The targets of a batch. Counts of the parts of a batch are summed before the losses are divided by them."""

    @property
    def num_objects(self) -> int:
        """The count by which the losses of anchors are divided."""
        ...

    @property
    def num_cells(self) -> int:
        """The count by which the loss of the segmentation logits is divided."""
        ...

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float) -> Tensor:
        """The loss of a network's outputs, a 0-d tensor, divided by counts of the whole batch."""
        ...


class DistillationTeacher(Protocol):
    """Computes targets; it is not trained."""

    def __call__(self, images: Tensor, batch: Batch, targets: Targets) -> TeacherTargets:
        """The targets for normalized images (B, 3, H, W), their labels, and the objects matched to anchors."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTargets:
    """Class scores of a teacher for the anchors of a batch."""

    logits: Tensor
    """(B, A', c) for the last A' anchors"""
    channels: Tensor
    """(c,) int64, the class logits of the network that they are targets of, background first"""
    num_objects: int
    """positive anchors of the batch"""
    num_cells: int = 0

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float) -> Tensor:  # noqa: ARG002 - no cells
        """Kullback-Leibler divergence from the scores, divided by `num_objects`."""
        if outputs.logits is None:
            return torch.zeros((), device=self.logits.device)
        return score_divergence(outputs.logits, self) / num_objects


@dataclass(frozen=True, slots=True, eq=False)
class SSDLiteScores:
    """SSDLite as a teacher of the classes that COCO has."""

    net: SSDLiteTeacher

    def __call__(self, images: Tensor, batch: Batch, targets: Targets) -> ScoreTargets:  # noqa: ARG002 - no labels needed
        """SSDLite's scores for the images."""
        return ScoreTargets(self.net(images), self.net.known, len(targets.positives))


def score_divergence(logits: Tensor, targets: ScoreTargets) -> Tensor:
    """Kullback-Leibler divergence from the teacher's class scores, summed over its anchors.

    The weight of an anchor is the teacher's probability of an object. Anchors below `_MIN_TEACHER_OBJECTNESS` are left
    out, because the labels describe background better than the teacher.

    Args:
        logits: (B, A, C) of the network.
        targets: The teacher's logits for the last A' anchors.
    """
    expected = to_float(targets.logits).log_softmax(2)  # (B, A', c)
    objectness = -expected[:, :, 0].expm1()  # (B, A')
    image, anchor = (objectness > _MIN_TEACHER_OBJECTNESS).nonzero(as_tuple=True)  # (n,) each
    first = logits.shape[1] - expected.shape[1]
    predicted = to_float(logits[image, first + anchor])[:, targets.channels].log_softmax(1)  # (n, c)
    expected, objectness = expected[image, anchor], objectness[image, anchor]
    return ((expected.exp() * (expected - predicted)).sum(1) * objectness).sum()


def to_float(values: Tensor) -> Tensor:
    """The values in float32 or float64, which sums of exponentials need."""
    return values if values.dtype == torch.float64 else values.float()
