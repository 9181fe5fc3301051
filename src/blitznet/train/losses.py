"""What a batch costs: class map, classes and places of boxes (paper 3.6), each only where truth is known.

Where only some classes were annotated, background in the truth means "background or any class not
annotated", and the network is asked for the sum of their probabilities: the marginal.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.nets.parts import Heads
from blitznet.train.batch import Batch
from blitznet.train.matching import Targets

_HARDLY = 0.02
"""a teacher's probability of any object from which on it is listened to"""


@dataclass(frozen=True, slots=True)
class LossConfig:
    """How the parts are counted."""

    negative_ratio: int = 3
    """background anchors that learn for each positive"""
    segmentation: float = 1.0
    classification: float = 1.0
    localisation: float = 1.0
    distillation: float = 0.0
    """weights in the sum"""
    release: bool = False
    """mine as the authors' code: over the whole batch, and no more than anchors of an image minus positives"""


@dataclass(frozen=True, slots=True, eq=False)
class TeacherTargets:
    """What a teacher says of a batch's anchors."""

    logits: Tensor
    """(B, A', c) of the last A' anchors"""
    channels: Tensor
    """(c,) int64: which class logits of the network they are for, background first"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sums are divided by."""

    positives: int
    labelled_pixels: int


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The parts, unweighted, and their weighted sum; scalars with a graph."""

    segmentation: Tensor
    classification: Tensor
    localisation: Tensor
    distillation: Tensor | None
    """None without a teacher"""
    total: Tensor
    counts: Counts
    """of this batch"""

    def parts(self) -> dict[str, float]:
        """The values as plain numbers, for logs."""
        names = ("segmentation", "classification", "localisation", "distillation", "total")
        found = {name: getattr(self, name) for name in names}
        return {name: float(value.detach()) for name, value in found.items() if value is not None}


def count(batch: Batch, targets: Targets) -> Counts:
    """Positives and labelled pixels of a batch."""
    return Counts(len(targets.positives), int((batch.class_map != IGNORE_INDEX).sum()))


def losses(
    heads: Heads,
    batch: Batch,
    targets: Targets,
    options: LossConfig | None = None,
    *,
    lesson: TeacherTargets | None = None,
    whole: Counts | None = None,
    shares: int = 1,
) -> Losses:
    """The losses of a batch; a task whose heads are None adds nothing.

    A step that is dealt out to `shares` batches (processes, or accumulated ones) passes what is counted
    in the `whole` of it: the mean over the shares is then the loss of the undivided batch.
    """
    options = options or LossConfig()
    own = count(batch, targets)
    norm = whole or own
    boxes = max(1, norm.positives) / shares
    nothing = torch.zeros((), device=batch.boxes.device)
    classes = places = pixels = nothing
    taught: Tensor | None = None
    if heads.logits is not None:
        classes = classification(heads.logits, targets, batch.box_classes, options) / boxes
        if lesson is not None:
            taught = distillation(heads.logits, lesson) / boxes
    if heads.offsets is not None:
        places = localisation(heads.offsets, targets) / boxes
    if heads.segmentation_logits is not None:
        pixels = segmentation(heads.segmentation_logits, batch) / (max(1, norm.labelled_pixels) / shares)
    total = options.segmentation * pixels + options.classification * classes + options.localisation * places
    if taught is not None:
        total = total + options.distillation * taught
    return Losses(pixels, classes, places, taught, total, own)


def classification(logits: Tensor, targets: Targets, box_classes: Tensor, options: LossConfig) -> Tensor:
    """Cross-entropy summed over the positives and the hard negatives; logits (B, A, C).

    Gradients flow through these few anchors only, so the full tensor is only read, to rank the background.
    """
    negatives = hard_negatives(logits, targets, box_classes, options)
    chosen = torch.cat([targets.positives, negatives])
    rows = _precise(logits.flatten(0, 1)[chosen])  # (P + N, C)
    labels = targets.labels.view(-1)[chosen]
    accepted = F.one_hot(labels, logits.shape[2]).bool()
    accepted |= (labels == 0)[:, None] & _background(box_classes)[chosen // logits.shape[1]]
    return -_log_sum(rows.log_softmax(1), accepted).sum()


@torch.no_grad()
def hard_negatives(logits: Tensor, targets: Targets, box_classes: Tensor, options: LossConfig) -> Tensor:
    """(N,) image * A + anchor of the background anchors with the highest loss.

    For each image `negative_ratio` times its positives, as if it had one where it has none.
    """
    anchors = logits.shape[1]
    hardness = _background_loss(logits, box_classes)  # (B, A)
    hardness.masked_fill_(targets.labels != 0, -torch.inf)
    positives = (targets.labels > 0).sum(1)  # (B,)
    if options.release:
        hardness = hardness.view(1, -1)
        total = positives.sum()[None]
        expected = torch.minimum(options.negative_ratio * total, anchors - total).clamp(min=0)  # (1,)
    else:
        expected = options.negative_ratio * positives.clamp(min=1)
    found, index = hardness.topk(min(int(expected.max()), hardness.shape[1]), dim=1)
    rank = torch.arange(found.shape[1], device=found.device)
    kept = (rank < expected[:, None]) & (found != -torch.inf)
    first = torch.arange(len(hardness), device=index.device)[:, None] * anchors
    return (first + index)[kept]


def localisation(offsets: Tensor, targets: Targets) -> Tensor:
    """Smooth L1 summed over the positives and their four coordinates; offsets (B, A, 4)."""
    found = _precise(offsets.flatten(0, 1)[targets.positives])  # (P, 4)
    return F.smooth_l1_loss(found, targets.offsets.to(found.dtype), reduction="sum")


def distillation(logits: Tensor, lesson: TeacherTargets) -> Tensor:
    """Kullback-Leibler divergence from a teacher's classes, summed over its anchors; logits (B, A, C).

    An anchor counts as much as the teacher sees an object there, those where it hardly sees any not at all: background
    is what the truth says best. Hinton et al., Distilling the knowledge in a neural network, 2015.
    """
    expected = _precise(lesson.logits).log_softmax(2)  # (B, A', c)
    objects = -expected[:, :, 0].expm1()  # (B, A')
    image, anchor = (objects > _HARDLY).nonzero(as_tuple=True)  # (n,) each
    first = logits.shape[1] - expected.shape[1]
    found = _precise(logits[image, first + anchor])[:, lesson.channels].log_softmax(1)  # (n, c)
    expected, objects = expected[image, anchor], objects[image, anchor]
    return ((expected.exp() * (expected - found)).sum(1) * objects).sum()


def segmentation(class_map: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy summed over the labelled pixels; class_map (B, C, h, w).

    Without any the sum is of nothing: exactly 0, and so is every gradient.
    """
    logp = _precise(class_map).log_softmax(1)
    partly = ~batch.mask_classes.all(1) & (batch.class_map == 0).flatten(1).any(1)  # (B,)
    truth = batch.class_map.masked_fill(partly[:, None, None], IGNORE_INDEX).long()
    loss = F.nll_loss(logp, truth, ignore_index=IGNORE_INDEX, reduction="sum")
    if not bool(partly.any()):
        return loss
    accepted = _background(batch.mask_classes)[partly][:, :, None, None]
    background = _log_sum(logp[partly], accepted)[:, None]
    merged = torch.cat([background, logp[partly][:, 1:]], 1)
    return loss + F.nll_loss(merged, batch.class_map[partly].long(), ignore_index=IGNORE_INDEX, reduction="sum")


def _background_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """(B, A) what each anchor of logits (B, A, C) would cost as background; classes (B, K) annotated."""
    logp = _precise(logits).log_softmax(2)
    loss = -logp[:, :, 0]
    partly = (classes.any(1) & ~classes.all(1)).nonzero().flatten()
    if len(partly):
        loss[partly] = -_log_sum(logp[partly].movedim(2, 1), _background(classes[partly])[:, :, None])
    return loss


def _background(classes: Tensor) -> Tensor:
    """(B, C) bool: what background in the truth may be, where only `classes` (B, K) were annotated."""
    return F.pad(~classes, (1, 0), value=True)


def _log_sum(logp: Tensor, accepted: Tensor) -> Tensor:
    """Logarithm of the summed probability of the accepted classes, which stand in dimension 1."""
    return logp.masked_fill(~accepted, -torch.inf).logsumexp(1)


def _precise(values: Tensor) -> Tensor:
    """Float32 where a half type came in: sums of exponentials need it."""
    return values if values.dtype == torch.float64 else values.float()
