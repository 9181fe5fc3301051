"""Which anchor learns which object (paper 3.6, SSD 2.2), for all images of a batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blitznet.train.batch import Batch
from blitznet.train.boxes import area, encode, intersection, iou, to_corners

IGNORED = -1
"""the label of an anchor that learns nothing"""
Variances = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What every anchor of a batch learns. Positives are few, so all but the labels is kept for them alone."""

    labels: Tensor
    """(B, A) int64: 0 background, label + 1, -1 ignored"""
    positives: Tensor
    """(P,) int64, rising: image * A + anchor"""
    objects: Tensor
    """(P,) int64 index of each positive's object in the batch's list"""
    offsets: Tensor
    """(P, 4) what carries the anchor onto its object"""


@torch.no_grad()
def match(
    anchors: Tensor,
    batch: Batch,
    *,
    variances: Variances = (0.1, 0.1, 0.2, 0.2),
    threshold: float = 0.5,
    release: bool = False,
) -> Targets:
    """Deal the objects of a batch to anchors (A, 4; cx cy w h as fractions).

    An anchor takes its best object from an IoU of `threshold` on; and every object gets its best anchor
    with an IoU above 0, which overrides. Objects that want one anchor are settled by IoU, and the loser
    takes its next best. Anchors with more than half of their area in a crowd region are ignored unless
    positive, and so are all anchors of an image whose boxes were not annotated.

    `release` deals as the authors' code: an object claims its best anchor whatever the IoU, the first
    object of the list wins, and the loser goes without.
    """
    count = len(anchors)
    corners = to_corners(anchors)
    annotated = batch.box_classes.any(1)  # (B,)
    expected = ~batch.crowd & annotated[batch.owner] & (area(batch.boxes) > 0)
    objects = expected.nonzero().flatten()
    start = batch.owner[objects] * count  # where the anchors of each object's image begin
    overlap = iou(batch.boxes[objects], corners)  # (T, A)

    assigned = overlap.new_full((len(batch) * count,), -1, dtype=torch.int64)
    _take_best(overlap, start, threshold, assigned)
    claimant, anchor = _claim_first(overlap, start) if release else _claim(overlap, start)
    assigned[start[claimant] + anchor] = claimant

    positives = (assigned >= 0).nonzero().flatten()
    matched = objects[assigned[positives]]
    labels = torch.where(annotated, 0, IGNORED)[:, None].repeat(1, count)  # (B, A)
    _ignore_crowds(labels, batch, corners)
    labels.view(-1)[positives] = batch.labels[matched] + 1
    offsets = encode(batch.boxes[matched], anchors[positives % count], variances)
    return Targets(labels, positives, matched, offsets)


def _take_best(overlap: Tensor, start: Tensor, threshold: float, assigned: Tensor) -> None:
    """Write into `assigned` (B * A,) the best object of each anchor that has one."""
    row, anchor = (overlap >= threshold).nonzero(as_tuple=True)
    slot = start[row] + anchor
    best = _best_of_slot(slot, overlap[row, anchor])
    assigned[slot[best]] = row[best]


def _claim(overlap: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Give every object one anchor of its own: objects and their anchors.

    Deferred acceptance: all objects ask for their best anchor, the anchor keeps the highest IoU, those
    refused ask for their next. As both sides go by the same IoU, this is the greedy dealing of all
    pairs by falling IoU. Refused pairs are wiped from `overlap`.
    """
    value, anchor = overlap.max(1)
    while True:
        asking = value > 0
        refused = (asking & ~_best_of_slot(start + anchor, value)).nonzero().flatten()
        if not len(refused):
            claimant = asking.nonzero().flatten()
            return claimant, anchor[claimant]
        overlap[refused, anchor[refused]] = 0
        value[refused], anchor[refused] = overlap[refused].max(1)


def _claim_first(overlap: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Each object's best anchor; the first object of the list wins."""
    anchor = overlap.argmax(1)
    claimant = _best_of_slot(start + anchor, torch.zeros_like(start)).nonzero().flatten()
    return claimant, anchor[claimant]


def _best_of_slot(slot: Tensor, value: Tensor) -> Tensor:
    """(N,) bool: has this one the highest value of its slot? Among equals the first."""
    order = value.argsort(descending=True, stable=True)
    order = order[slot[order].argsort(stable=True)]
    ordered = slot[order]
    best = torch.ones_like(slot, dtype=torch.bool)
    best[order[1:]] = ordered[1:] != ordered[:-1]
    return best


def _ignore_crowds(labels: Tensor, batch: Batch, corners: Tensor) -> None:
    """Mark in `labels` (B, A) the anchors that lie mostly in a crowd region of their image."""
    regions = batch.crowd.nonzero().flatten()
    mostly = intersection(batch.boxes[regions], corners) > area(corners) / 2
    region, anchor = mostly.nonzero(as_tuple=True)
    labels[batch.owner[regions[region]], anchor] = IGNORED
