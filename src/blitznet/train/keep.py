"""Learn new classes and keep those of the initial model (`--keep`).

The initial model is a frozen teacher on the same images. Labels decide about the classes that an image annotates. The
model's other classes are unknown in the labels: background in a label means "background or one of them". The teacher
decides about these. For its targets all other classes count as background, in the teacher and in the network.
Sources: Shmelkov, Schmid, Alahari, Incremental learning of object detectors without catastrophic forgetting, 2017;
Cermelli et al., Modeling the background for incremental learning in semantic segmentation, 2020.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.classes import canonical
from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch
from blitznet.train.boxes import cells_inside, decode, iou
from blitznet.train.distillation import to_float
from blitznet.train.matching import Targets

MIN_CONFIDENCE = 0.5
"""probability of the unknown classes from which the teacher's box is a target, too"""
MIN_PROBABILITY = 0.01
"""probability of the unknown classes, by teacher or network, below which an anchor has no loss"""
SAME_OBJECT = 0.5
"""IoU of a box of the teacher with a labeled object from which both are the same object, and the label is right"""


def extend_classes(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    """The old classes, then the new ones that are no synonym of an old one or of each other."""
    known = {canonical(name) for name in old}
    added: dict[str, str] = {}
    for name in new:
        if canonical(name) not in known:
            added.setdefault(canonical(name), name)
    return (*old, *added.values())


class KeepTeacher(nn.Module):
    """The initial model as the teacher of its own classes. It is not trained."""

    anchors: Tensor
    """(A, 4) cx cy w h, fractions of the image"""

    def __init__(self, net: BlitzNet, classes: tuple[str, ...], spec: Spec) -> None:
        """Wrap a model.

        Args:
            net: The initial model; its gradients are turned off.
            classes: Its classes.
            spec: The spec of the network to train, whose first classes are the same.

        Raises:
            ModelError: The network to train begins with other classes.
        """
        super().__init__()
        if spec.classes[: len(classes)] != classes:
            raise ModelError(
                f"{spec.name}: expected the classes of the initial model first ({', '.join(classes[:4])}), "
                f"got {', '.join(spec.classes[:4])}"
            )
        self.net, self.classes, self.variances = net, classes, spec.anchors.variances
        anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))
        self.register_buffer("anchors", torch.from_numpy(anchors.copy()))
        self.requires_grad_(requires_grad=False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor, batch: Batch, targets: Targets) -> "KeepTargets":
        """Targets for the images (B, 3, H, W), normalized.

        Args:
            images: Images of the batch.
            batch: Labels of the batch.
            targets: The objects of the batch matched to anchors.
        """
        outputs: HeadOutputs = self.net(images)
        unknown_boxes = ~batch.box_classes[:, : len(self.classes)]
        unknown_pixels = ~batch.mask_classes[:, : len(self.classes)]
        anchors = cells = None
        if outputs.logits is not None and outputs.offsets is not None:
            probability = _unknown_probability(outputs.logits, unknown_boxes[:, None])
            probability[targets.labels > 0] = 0
            offsets = to_float(outputs.offsets)
            self._clear_labeled_objects(probability, offsets, unknown_boxes, batch)
            anchors = AnchorTargets(probability, targets.labels <= 0, unknown_boxes, offsets)
        if outputs.segmentation_logits is not None:
            logits = outputs.segmentation_logits.movedim(1, 3)
            probability = _unknown_probability(logits, unknown_pixels[:, None, None])
            has_target = ~_labeled_cells(batch, len(self.classes), (logits.shape[1], logits.shape[2]))
            cells = CellTargets(probability, has_target, unknown_pixels)
        return KeepTargets(anchors, cells)

    def _clear_labeled_objects(self, probability: Tensor, offsets: Tensor, unknown: Tensor, batch: Batch) -> None:
        """Set the probability to 0 where the teacher's box is an object that has another label, such as a zebra."""
        is_known = ~batch.crowd & (batch.labels >= 0)
        is_unknown = F.pad(unknown, (0, batch.box_classes.shape[1] - unknown.shape[1]))
        is_known &= ~is_unknown[batch.image_index, batch.labels.clamp(min=0)]
        if not bool(is_known.any()):
            return
        image, anchor = (probability.sum(2) > MIN_PROBABILITY).nonzero(as_tuple=True)
        boxes = decode(offsets[image, anchor], self.anchors[anchor], self.variances)
        overlap = iou(boxes, batch.boxes[is_known])  # (n, T)
        overlap[image[:, None] != batch.image_index[is_known]] = 0
        same = (overlap >= SAME_OBJECT).any(1)
        probability[image[same], anchor[same]] = 0


@dataclass(frozen=True, slots=True, eq=False)
class AnchorTargets:
    """What the teacher predicts for the anchors of a batch."""

    probability: Tensor
    """(B, A, K') of the K' classes of the teacher; 0 for those that the image annotates"""
    has_target: Tensor
    """(B, A) bool, anchors that no label makes a positive"""
    unknown: Tensor
    """(B, K') bool, classes that the image does not annotate"""
    offsets: Tensor
    """(B, A, 4)"""

    def is_confident(self) -> Tensor:
        """(B, A) bool, anchors where the teacher sees an object of an unknown class."""
        return self.probability.sum(2) >= MIN_CONFIDENCE

    def class_loss(self, logits: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the teacher's probabilities, summed over the anchors.

        Gradients flow only through anchors where teacher or network predict an unknown class.

        Args:
            logits: (B, A, C) of the network.
        """
        with torch.no_grad():
            predicted = _unknown_probability(logits, self.unknown[:, None]).sum(2)
            selected = self.has_target & (torch.maximum(self.probability.sum(2), predicted) > MIN_PROBABILITY)
            image, anchor = selected.nonzero(as_tuple=True)
        return unknown_divergence(logits[image, anchor], self.probability[image, anchor], self.unknown[image])

    def offset_loss(self, offsets: Tensor) -> Tensor:
        """Smooth L1 of offsets (B, A, 4), summed over the anchors where the teacher is confident."""
        confident = self.is_confident()
        return F.smooth_l1_loss(to_float(offsets[confident]), self.offsets[confident], reduction="sum")


@dataclass(frozen=True, slots=True, eq=False)
class CellTargets:
    """What the teacher predicts for the cells of the segmentation logits."""

    probability: Tensor
    """(B, h, w, K') of the K' classes of the teacher; 0 for those that the image annotates"""
    has_target: Tensor
    """(B, h, w) bool, cells that have no other label"""
    unknown: Tensor
    """(B, K') bool, classes that the image does not annotate"""

    def loss(self, logits: Tensor) -> Tensor:
        """Kullback-Leibler divergence of logits (B, C, h, w), summed over the cells."""
        image = self.has_target.nonzero(as_tuple=True)[0]
        selected = logits.movedim(1, 3)[self.has_target]  # (n, C)
        return unknown_divergence(selected, self.probability[self.has_target], self.unknown[image])


@dataclass(frozen=True, slots=True, eq=False)
class KeepTargets:
    """The targets of a batch, of the tasks that the teacher has."""

    anchors: AnchorTargets | None
    cells: CellTargets | None

    @property
    def num_objects(self) -> int:
        """Anchors where the teacher sees an object, and one more for each image."""
        return 0 if self.anchors is None else int(self.anchors.is_confident().sum()) + len(self.anchors.unknown)

    @property
    def num_cells(self) -> int:
        """Cells that have a target."""
        return 0 if self.cells is None else int(self.cells.has_target.sum())

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float) -> Tensor:
        """Sum of the losses of class logits and offsets, and of segmentation logits, divided by counts."""
        terms = []
        if self.anchors is not None and outputs.logits is not None and outputs.offsets is not None:
            anchors = self.anchors.class_loss(outputs.logits) + self.anchors.offset_loss(outputs.offsets)
            terms.append(anchors / num_objects)
        if self.cells is not None and outputs.segmentation_logits is not None:
            terms.append(self.cells.loss(outputs.segmentation_logits) / num_cells)
        return torch.stack(terms).sum()


def unknown_divergence(logits: Tensor, probability: Tensor, unknown: Tensor) -> Tensor:
    """Kullback-Leibler divergence over the unknown classes and the rest, summed.

    The rest is one class: background, the classes that the image annotates, and the new ones.

    Args:
        logits: (N, C) of the network.
        probability: (N, K') of the teacher's classes, 0 for those that are not unknown.
        unknown: (N, K') bool.
    """
    logp = to_float(logits).log_softmax(1)
    old = slice(1, 1 + unknown.shape[1])
    in_rest = torch.ones_like(logp, dtype=torch.bool)
    in_rest[:, old] = ~unknown
    rest_logp = logp.masked_fill(~in_rest, -torch.inf).logsumexp(1)  # (N,)
    expected = probability.to(logp.dtype)
    rest = (1 - expected.sum(1)).clamp(min=0)
    divergence = (torch.xlogy(expected, expected) - expected * logp[:, old]).sum()
    return divergence + (torch.xlogy(rest, rest) - rest * rest_logp).sum()


def _unknown_probability(logits: Tensor, unknown: Tensor) -> Tensor:
    """(..., K') probability of the first K' classes where they are unknown, else 0; logits (..., C)."""
    return to_float(logits).softmax(-1)[..., 1 : 1 + unknown.shape[-1]] * unknown


def _labeled_cells(batch: Batch, num_old: int, size: tuple[int, int]) -> Tensor:
    """(B, h, w) bool, cells of `size` (h, w) with a label other than background.

    Images without a mask have boxes at best. Any pixel of a box may be the object's, so all of them count if the object
    is of a new class, one from `num_old` on.
    """
    class_map = F.interpolate(batch.class_map[:, None].float(), size=size, mode="nearest")[:, 0]
    has_mask = batch.mask_classes.any(1)
    is_new = (batch.labels >= num_old) & ~has_mask[batch.image_index]
    inside = cells_inside(batch.boxes[is_new], size)  # (n, h, w)
    boxes = torch.zeros_like(class_map).index_add_(0, batch.image_index[is_new], inside.to(class_map.dtype))
    return ((class_map > 0) & (class_map != IGNORE_INDEX)) | (boxes > 0)
