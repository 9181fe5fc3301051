"""Segmentation from boxes: a loss of the class map on images whose objects have boxes and no masks.

A box says three things about the pixels of its class: none is outside of all boxes of the class, and every row and
every column of a box has some. The first is the marginal loss of the classes that a pixel may have. The others are
the projection loss of Tian et al., BoxInst, 2021, on the boxes of a class together.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from blitznet.train.batch import Batch
from blitznet.train.boxes import cells_inside


@dataclass(frozen=True, slots=True, eq=False)
class BoxRegions:
    """Which classes of which images have boxes and no masks."""

    classes: Tensor
    """(B, K) bool, classes whose boxes are annotated and whose pixels are not, by masks or a segmentation teacher"""
    objects: Tensor
    """(T,) bool, objects of these classes"""

    @classmethod
    def of(cls, batch: Batch) -> "BoxRegions":
        """The regions of a batch."""
        classes = batch.box_classes & ~batch.mask_classes
        if len(batch.soft_index):
            classes[batch.soft_index] &= ~batch.soft_classes
        known = batch.labels >= 0
        return cls(classes, known & classes[batch.image_index, batch.labels.clamp(min=0)])

    @property
    def num_images(self) -> int:
        """Images with a loss of all pixels."""
        return int(self.classes.any(1).sum())

    def num_regions(self, batch: Batch) -> int:
        """Pairs of an image and a class with a projection loss."""
        return len(_pairs(batch, self.objects & ~batch.crowd)[0])


def box_supervision_loss(logits: Tensor, batch: Batch, regions: BoxRegions) -> tuple[Tensor, Tensor]:
    """The two losses, summed.

    Args:
        logits: (B, C, h, w), float32 or float64.
        batch: Boxes of the batch.
        regions: From `BoxRegions.of`.

    Returns:
        Marginal loss: its mean over the pixels of an image, summed over images. Projection loss: the mean of both
        directions, summed over pairs of an image and a class.
    """
    size = (logits.shape[2], logits.shape[3])
    logp = logits.log_softmax(1)
    cover = torch.zeros((*regions.classes.shape, *size), dtype=torch.bool, device=logits.device)  # (B, K, h, w)
    inside = cells_inside(batch.boxes[regions.objects], size)  # (n, h, w)
    image, label = batch.image_index[regions.objects], batch.labels[regions.objects]
    cover = cover.float().index_put_((image, label), inside.float(), accumulate=True) > 0
    selected = regions.classes.any(1)
    accepted = F.pad(~regions.classes[selected, :, None, None] | cover[selected], (0, 0, 0, 0, 1, 0), value=True)
    outside = -logp[selected].masked_fill(~accepted, -torch.inf).logsumexp(1).mean((1, 2)).sum()
    image, label = _pairs(batch, regions.objects & ~batch.crowd)
    target = cover[image, label]  # (P, h, w)
    probability = logp[image, label + 1].exp() * target
    projections = [
        1 - _dice(probability.amax(dimension), target.any(dimension).to(logits.dtype)) for dimension in (1, 2)
    ]
    return outside, (projections[0] + projections[1]).sum() / 2


def _pairs(batch: Batch, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Image and class of these objects, each pair once."""
    num_classes = batch.box_classes.shape[1]
    pairs = torch.unique(batch.image_index[objects] * num_classes + batch.labels[objects])
    return pairs // num_classes, pairs % num_classes


def _dice(a: Tensor, b: Tensor) -> Tensor:
    """(P,) Dice coefficient of rows (P, n), with squares in the denominator; 1 for two empty rows."""
    tiny = torch.finfo(a.dtype).eps
    return (2 * (a * b).sum(1) + tiny) / ((a**2).sum(1) + (b**2).sum(1) + tiny)
