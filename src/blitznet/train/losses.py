"""Losses of a batch: segmentation, classification and localization (paper 3.6), each only where labels exist.

Further losses are of teachers (distillation.py, soft labels) and of class maps on images with boxes only
(box_supervision.py).

Where only some classes are annotated, background in the labels means "background or any class that is not annotated".
The loss is then the cross-entropy of the summed probability of those classes (the marginal).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch
from blitznet.train.box_supervision import BoxRegions, box_supervision_loss
from blitznet.train.distillation import TeacherTargets, to_float
from blitznet.train.matching import Targets


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the losses, and how negatives are mined."""

    negative_ratio: int = 3
    """background anchors with a loss per positive anchor"""
    segmentation: float = 1.0
    """weight of the segmentation loss in the sum"""
    classification: float = 1.0
    """weight of the classification loss in the sum"""
    localization: float = 1.0
    """weight of the localization loss in the sum"""
    distillation: float = 0.0
    """weight of the distillation loss in the sum"""
    soft_labels: float = 1.0
    """weight of the loss on soft labels in the sum"""
    box_segmentation: float = 0.0
    """weight of the loss of the class map from boxes in the sum; 0 leaves it out"""
    match_original: bool = False
    """whether to mine negatives as the original implementation: over the batch, at most A minus all positives"""


@dataclass(frozen=True, slots=True)
class Normalizers:
    """The counts by which the summed losses are divided."""

    positives: int
    labeled_pixels: int
    soft_cells: int = 0
    """cells with a soft label"""
    teacher_objects: int = 0
    """`TeacherTargets.num_objects`"""
    teacher_cells: int = 0
    """`TeacherTargets.num_cells`"""
    box_images: int = 0
    """images with a class that has boxes and no masks"""
    box_regions: int = 0
    """pairs of an image and such a class"""


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The unweighted losses and their weighted sum, 0-d tensors with gradients."""

    segmentation: Tensor
    classification: Tensor
    localization: Tensor
    distillation: Tensor | None
    """None without a teacher"""
    soft_labels: Tensor | None
    """None without soft labels"""
    box_segmentation: Tensor | None
    """None without this loss"""
    total: Tensor
    normalizers: Normalizers
    """counts of this batch alone"""

    def to_floats(self) -> dict[str, float]:
        """The losses by name as numbers, for logs."""
        names = ("segmentation", "classification", "localization", "distillation", "soft_labels", "box_segmentation")
        values = {name: getattr(self, name) for name in (*names, "total")}
        return {name: float(value.detach()) for name, value in values.items() if value is not None}


def count_normalizers(
    batch: Batch,
    targets: Targets,
    teacher_targets: TeacherTargets | None = None,
    box_regions: BoxRegions | None = None,
) -> Normalizers:
    """Count positives, labeled pixels, what a teacher predicts, and classes with boxes and no masks in a batch."""
    return Normalizers(
        positives=len(targets.positives),
        labeled_pixels=int((batch.class_map != IGNORE_INDEX).sum()),
        soft_cells=int(_has_soft_label(batch).sum()),
        teacher_objects=0 if teacher_targets is None else teacher_targets.num_objects,
        teacher_cells=0 if teacher_targets is None else teacher_targets.num_cells,
        box_images=0 if box_regions is None else box_regions.num_images,
        box_regions=0 if box_regions is None else box_regions.num_regions(batch),
    )


def losses(
    outputs: HeadOutputs,
    batch: Batch,
    targets: Targets,
    config: LossConfig | None = None,
    *,
    teacher_targets: TeacherTargets | None = None,
    box_regions: BoxRegions | None = None,
    normalizers: Normalizers | None = None,
    num_parts: int = 1,
) -> Losses:
    """Compute the losses of a batch.

    Args:
        outputs: Outputs of the network; a task whose outputs are None has loss 0.
        batch: Labels of the batch.
        targets: The batch's objects matched to anchors.
        config: Weights; all 1 by default.
        teacher_targets: Targets of distillation.
        box_regions: Classes that have boxes and no masks, for the loss of the class map from boxes.
        normalizers: Counts over all parts of a batch that is split into parts; those of this batch by default.
        num_parts: Number of those parts, over processes and accumulated passes. The mean of the parts' losses equals
            the loss of the whole batch.
    """
    config = config or LossConfig()
    own = count_normalizers(batch, targets, teacher_targets, box_regions)
    shared = normalizers or own
    num_boxes = max(1, shared.positives) / num_parts
    zero = torch.zeros((), device=batch.boxes.device)
    classes = locations = pixels = zero
    distilled: Tensor | None = None
    softened: Tensor | None = None
    from_boxes: Tensor | None = None
    if outputs.logits is not None:
        classes = classification(outputs.logits, targets, batch.box_classes, config) / num_boxes
    if outputs.offsets is not None:
        locations = localization(outputs.offsets, targets) / num_boxes
    if outputs.segmentation_logits is not None:
        num_pixels = max(1, shared.labeled_pixels) / num_parts
        pixels = segmentation(outputs.segmentation_logits, batch) / num_pixels
        if len(batch.soft_index):
            num_cells = max(1, shared.soft_cells) / num_parts
            softened = soft_label_loss(outputs.segmentation_logits, batch) / num_cells
        if box_regions is not None:
            outside, projection = box_supervision_loss(to_float(outputs.segmentation_logits), batch, box_regions)
            num_images, num_regions = (max(1, count) / num_parts for count in (shared.box_images, shared.box_regions))
            from_boxes = outside / num_images + projection / num_regions
    if teacher_targets is not None:
        num_objects, num_teacher_cells = (
            max(1, count) / num_parts for count in (shared.teacher_objects, shared.teacher_cells)
        )
        distilled = teacher_targets.loss(outputs, num_objects, num_teacher_cells)
    total = config.segmentation * pixels + config.classification * classes + config.localization * locations
    if distilled is not None:
        total = total + config.distillation * distilled
    if softened is not None:
        total = total + config.soft_labels * softened
    if from_boxes is not None:
        total = total + config.box_segmentation * from_boxes
    return Losses(pixels, classes, locations, distilled, softened, from_boxes, total, own)


def classification(logits: Tensor, targets: Targets, box_classes: Tensor, config: LossConfig) -> Tensor:
    """Cross-entropy summed over the positives and the hard negatives.

    Gradients flow through these anchors only; the full tensor is only read to rank the background anchors.

    Args:
        logits: (B, A, C).
        targets: Labels of the anchors.
        box_classes: (B, K) bool, classes whose boxes are annotated.
        config: How negatives are mined.
    """
    negatives = hard_negatives(logits, targets, box_classes, config)
    anchors = torch.cat([targets.positives, negatives])
    selected = to_float(logits.flatten(0, 1)[anchors])  # (P + N, C)
    labels = targets.labels.view(-1)[anchors]
    accepted = F.one_hot(labels, logits.shape[2]).bool()
    accepted |= (labels == 0)[:, None] & _background_classes(box_classes)[anchors // logits.shape[1]]
    return -_log_marginal(selected.log_softmax(1), accepted).sum()


@torch.no_grad()
def hard_negatives(logits: Tensor, targets: Targets, box_classes: Tensor, config: LossConfig) -> Tensor:
    """The background anchors with the highest loss: `negative_ratio` per positive of an image.

    An image without positives has as many negatives as one with a single positive. With `match_original` the anchors
    are ranked over the whole batch, and a batch without positives has no negatives.

    Args:
        logits: (B, A, C).
        targets: Labels of the anchors.
        box_classes: (B, K) bool, classes whose boxes are annotated.
        config: The ratio, and whether to mine over the batch.

    Returns:
        (N,) int64, image * A + anchor.
    """
    num_anchors = logits.shape[1]
    hardness = _background_loss(logits, box_classes)  # (B, A)
    hardness.masked_fill_(targets.labels != 0, -torch.inf)
    positives = (targets.labels > 0).sum(1)  # (B,)
    if config.match_original:
        hardness = hardness.view(1, -1)
        total = positives.sum()[None]
        counts = torch.minimum(config.negative_ratio * total, num_anchors - total).clamp(min=0)  # (1,)
    else:
        counts = config.negative_ratio * positives.clamp(min=1)
    values, indices = hardness.topk(min(int(counts.max()), hardness.shape[1]), dim=1)
    rank = torch.arange(values.shape[1], device=values.device)
    selected = (rank < counts[:, None]) & (values != -torch.inf)
    first = torch.arange(len(hardness), device=indices.device)[:, None] * num_anchors
    return (first + indices)[selected]


def localization(offsets: Tensor, targets: Targets) -> Tensor:
    """Smooth L1 summed over the positives and their four offsets; offsets (B, A, 4)."""
    predicted = to_float(offsets.flatten(0, 1)[targets.positives])  # (P, 4)
    return F.smooth_l1_loss(predicted, targets.offsets.to(predicted.dtype), reduction="sum")


def segmentation(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy summed over the labeled pixels; without any, the loss and all gradients are exactly 0.

    Args:
        logits: (B, C, h, w).
        batch: Class maps, and the classes that are annotated.
    """
    logits = to_float(logits)
    if logits.shape[2:] != batch.class_map.shape[1:]:
        logits = F.interpolate(logits, size=batch.class_map.shape[1:], mode="bilinear")
    logp = logits.log_softmax(1)
    partial = ~batch.mask_classes.all(1) & (batch.class_map == 0).flatten(1).any(1)  # (B,)
    labels = batch.class_map.masked_fill(partial[:, None, None], IGNORE_INDEX).long()
    loss = F.nll_loss(logp, labels, ignore_index=IGNORE_INDEX, reduction="sum")
    if not bool(partial.any()):
        return loss
    accepted = _background_classes(batch.mask_classes)[partial][:, :, None, None]
    background = _log_marginal(logp[partial], accepted)[:, None]
    merged = torch.cat([background, logp[partial][:, 1:]], 1)
    return loss + F.nll_loss(merged, batch.class_map[partial].long(), ignore_index=IGNORE_INDEX, reduction="sum")


def soft_label_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Kullback-Leibler divergence from the soft labels, summed over the cells that have one.

    Where the teacher lacks a class, its background means "background or that class".

    Args:
        logits: (B, C, h, w).
        batch: Soft labels.
    """
    expected = batch.soft_labels.float()
    total = expected.sum(1, keepdim=True)  # (B', 1, h, w); rounding leaves sums near 255
    expected = expected / total.clamp(min=1)
    logp = to_float(logits[batch.soft_index]).log_softmax(1)
    if not bool(batch.soft_classes.all()):
        accepted = _background_classes(batch.soft_classes)[:, :, None, None]
        logp = torch.cat([_log_marginal(logp, accepted)[:, None], logp[:, 1:]], 1)
    return (torch.xlogy(expected, expected) - expected * logp).sum()


def _has_soft_label(batch: Batch) -> Tensor:
    return batch.soft_labels.any(1)


def _background_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """(B, A) loss of each anchor as background; logits (B, A, C), classes (B, K) annotated."""
    logits = to_float(logits)
    total = logits.logsumexp(2)  # (B, A)
    loss = total - logits[:, :, 0]
    partial = (classes.any(1) & ~classes.all(1)).nonzero().flatten()
    if len(partial):
        accepted = _background_classes(classes[partial])[:, None]
        loss[partial] = total[partial] - logits[partial].masked_fill_(~accepted, -torch.inf).logsumexp(2)
    return loss


def _background_classes(classes: Tensor) -> Tensor:
    """(B, C) bool, the classes that background in the labels may be if `classes` (B, K) are annotated."""
    return F.pad(~classes, (1, 0), value=True)


def _log_marginal(logp: Tensor, accepted: Tensor) -> Tensor:
    """Log of the summed probability of the accepted classes, over dimension 1."""
    return logp.masked_fill(~accepted, -torch.inf).logsumexp(1)
