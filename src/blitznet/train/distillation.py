"""Distillation: the predictions of a frozen teacher as targets beside the labels.

A teacher receives the images and their labels, and returns targets that know their loss. Two exist: SSDLite (here), and
the model that a run begins with (keep.py).
Sources: Hinton et al., Distilling the knowledge in a neural network, 2015; Chen et al., Learning efficient object
detection models with knowledge distillation, 2017.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from blitznet.nets.parts import HeadOutputs
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

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float, /) -> Tensor:
        """The loss of a network's outputs, a 0-d tensor, divided by counts of the whole batch."""
        ...


class DistillationTeacher(Protocol):
    """Computes targets; it is not trained."""

    def __call__(self, images: Tensor, batch: Batch, targets: Targets, /) -> TeacherTargets:
        """The targets for normalized images (B, 3, H, W), their labels, and the objects matched to anchors."""
        ...


class Detector(Protocol):
    """A network that is not trained, `SSDLiteTeacher` for example."""

    @property
    def known(self) -> Tensor:
        """(c,) int64, the channels of the classes that it knows, background first."""
        ...

    def __call__(self, images: Tensor, /) -> tuple[Tensor, Tensor]:
        """Logits (B, A', c) and offsets (B, A', 4) of normalized images (B, 3, H, W)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class DetectorTargets:
    """Class scores and boxes of a detector for the anchors of a batch."""

    logits: Tensor
    """(B, A', c) for the last A' anchors"""
    offsets: Tensor
    """(B, A', 4)"""
    channels: Tensor
    """(c,) int64, the class logits of the network that they are targets of, background first"""
    num_objects: int
    """positive anchors of the batch"""
    num_cells: int = 0

    def loss(self, outputs: HeadOutputs, num_objects: float, _num_cells: float, /) -> Tensor:
        """Divergence of the class scores and smooth L1 of the offsets, divided by `num_objects`.

        The weight of an anchor is the teacher's probability of an object. Anchors below `_MIN_TEACHER_OBJECTNESS` are
        left out, because the labels describe background better than the teacher.

        Args:
            outputs: Outputs of the network.
            num_objects: Positive anchors of the whole batch.
        """
        if outputs.logits is None or outputs.offsets is None:
            return torch.zeros((), device=self.logits.device)
        scores = to_float(self.logits).log_softmax(2)  # (B, A', c)
        objectness = -scores[:, :, 0].expm1()  # (B, A')
        image, anchor = (objectness > _MIN_TEACHER_OBJECTNESS).nonzero(as_tuple=True)  # (n,) each
        weight, expected = objectness[image, anchor], scores[image, anchor]
        matching = outputs.logits.shape[1] - self.logits.shape[1] + anchor  # its anchors are the last ones
        predicted = to_float(outputs.logits[image, matching])[:, self.channels].log_softmax(1)  # (n, c)
        divergence = (expected.exp() * (expected - predicted)).sum(1)  # (n,)
        offsets = to_float(outputs.offsets[image, matching])  # (n, 4)
        distance = smooth_l1_loss(offsets, self.offsets[image, anchor].to(offsets.dtype), reduction="none").sum(1)
        return (weight * (divergence + distance)).sum() / num_objects


@dataclass(frozen=True, slots=True, eq=False)
class SSDLiteDistillation:
    """SSDLite as a teacher of the classes that COCO has, and of boxes."""

    net: Detector

    def __call__(self, images: Tensor, _batch: Batch, targets: Targets, /) -> DetectorTargets:
        """SSDLite's predictions for the images."""
        logits, offsets = self.net(images)
        return DetectorTargets(logits, offsets, self.net.known, len(targets.positives))


def to_float(values: Tensor) -> Tensor:
    """The values in float32 or float64, which sums of exponentials need."""
    return values if values.dtype == torch.float64 else values.float()
