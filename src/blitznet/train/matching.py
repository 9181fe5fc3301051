"""Match objects to anchors (paper 3.6, SSD 2.2), for all images of a batch at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from blitznet.train.batch import Batch
from blitznet.train.boxes import area, encode, intersection, iou, to_corners

IGNORED = -1
"""label of an anchor without a classification loss"""
_MIN_SEARCHES, _SEARCHES_PER_OBJECT = 1000, 2
"""rejected proposals that are followed by a search in all anchors, which is faster than sorting them for a few"""
Variances = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Targets of the anchors of a batch: labels of all anchors, objects and offsets of the positives only."""

    labels: Tensor
    """(B, A) int64: 0 background, label + 1, -1 ignored"""
    positives: Tensor
    """(P,) int64, ascending: image * A + anchor"""
    objects: Tensor
    """(P,) int64, index of each positive's object in the batch's list"""
    offsets: Tensor
    """(P, 4) encoded offsets from the anchor to its object"""


@torch.no_grad()
def match(
    anchors: Tensor,
    batch: Batch,
    *,
    variances: Variances = (0.1, 0.1, 0.2, 0.2),
    threshold: float = 0.5,
    match_original: bool = False,
) -> Targets:
    """Match the objects of a batch to anchors.

    An anchor is matched to the object with the highest IoU, if that is at least `threshold`. Each object is also
    matched to its best anchor with an IoU above 0, which takes precedence. Of several objects with the same best
    anchor the one with the highest IoU gets it, and the others take their next best. Anchors with more than half of
    their area in a crowd region are ignored unless positive. All anchors of an image without annotated boxes are
    ignored.

    Args:
        anchors: (A, 4) cx cy w h, fractions of the image.
        batch: Objects of B images.
        variances: Scales of the encoded offsets.
        threshold: Minimum IoU of a positive.
        match_original: Match as the original implementation: an object takes its best anchor at any IoU, the first
            object of the list gets a contested anchor, and the others get none.
    """
    num_anchors = len(anchors)
    corners = to_corners(anchors)
    annotated = batch.box_classes.any(1)  # (B,)
    usable = ~batch.crowd & annotated[batch.image_index] & (area(batch.boxes) > 0)
    objects = usable.nonzero().flatten()
    first_anchor = batch.image_index[objects] * num_anchors  # of each object's image
    overlap = iou(batch.boxes[objects], corners)  # (T, A)

    assigned = overlap.new_full((len(batch) * num_anchors,), -1, dtype=torch.int64)
    _assign_best_objects(overlap, first_anchor, threshold, assigned)
    row, anchor = (_best_anchors_original if match_original else _best_anchors)(overlap, first_anchor)
    assigned[first_anchor[row] + anchor] = row

    positives = (assigned >= 0).nonzero().flatten()
    matched = objects[assigned[positives]]
    labels = torch.where(annotated, 0, IGNORED)[:, None].repeat(1, num_anchors)  # (B, A)
    _ignore_crowds(labels, batch, corners)
    labels.view(-1)[positives] = batch.labels[matched] + 1
    offsets = encode(batch.boxes[matched], anchors[positives % num_anchors], variances)
    return Targets(labels, positives, matched, offsets)


def _assign_best_objects(overlap: Tensor, first_anchor: Tensor, threshold: float, assigned: Tensor) -> None:
    """Write the best object of each anchor that has one into `assigned` (B * A,)."""
    row, anchor = (overlap >= threshold).nonzero(as_tuple=True)
    slot = first_anchor[row] + anchor
    best = _is_best_of_slot(slot, overlap[row, anchor])
    assigned[slot[best]] = row[best]


def _best_anchors(overlap: Tensor, first_anchor: Tensor) -> tuple[Tensor, Tensor]:
    """Match every object to an anchor of its own: rows of `overlap` (T, A), and their anchors.

    Deferred acceptance: each object proposes to its best anchor, the anchor accepts the highest IoU, rejected objects
    propose to their next best. Both sides rank by IoU, so this equals greedy matching of all pairs by falling IoU.
    Rejected pairs are set to 0 in `overlap`.
    """
    value, anchor = overlap.max(1)
    num_rejected, max_searches = 0, max(_MIN_SEARCHES, _SEARCHES_PER_OBJECT * len(overlap))
    while num_rejected <= max_searches:
        active = value > 0
        rejected = (active & ~_is_best_of_slot(first_anchor + anchor, value)).nonzero().flatten()
        if not len(rejected):
            row = active.nonzero().flatten()
            return row, anchor[row]
        overlap[rejected, anchor[rejected]] = 0
        value[rejected], anchor[rejected] = overlap[rejected].max(1)
        num_rejected += len(rejected)
    return _best_anchors_sorted(overlap, first_anchor)


def _best_anchors_sorted(overlap: Tensor, first_anchor: Tensor) -> tuple[Tensor, Tensor]:
    """`_best_anchors` for many objects that want the same anchors: each object's anchors are sorted once.

    A proposal then takes the time of a look-up, not of a search in all anchors.
    """
    candidates = _sorted_candidates(overlap)
    position, end = candidates.starts[:-1].clone(), candidates.starts[1:]
    num_slots = int(first_anchor.max()) + overlap.shape[1]
    holder = first_anchor.new_full((num_slots,), -1)  # the object that each anchor has accepted
    proposing = (position < end).nonzero().flatten()
    while len(proposing):
        slot = first_anchor[proposing] + candidates.anchors[position[proposing]]
        holding = holder[slot]
        claimants = torch.cat([proposing, holding[holding >= 0]]).unique()  # type: ignore[no-untyped-call]
        slot = first_anchor[claimants] + candidates.anchors[position[claimants]]
        best = _is_best_of_slot(slot, candidates.values[position[claimants]])
        holder[slot[best]] = claimants[best]
        rejected = claimants[~best]
        position[rejected] += 1
        proposing = rejected[position[rejected] < end[rejected]]
    row = holder[holder >= 0].sort().values
    return row, candidates.anchors[position[row]]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """All pairs of an object and an anchor with an IoU above 0, those of an object together, the best first."""

    starts: Tensor
    """(T + 1,) position of each object's first pair, and the number of pairs"""
    anchors: Tensor
    """(pairs,) int64"""
    values: Tensor
    """(pairs,) IoU"""


def _sorted_candidates(overlap: Tensor) -> _Candidates:
    row, anchor = (overlap > 0).nonzero(as_tuple=True)  # by row, then by anchor
    value = overlap[row, anchor]
    order = _sort_groups(row, value)
    counts = torch.bincount(row, minlength=len(overlap))
    return _Candidates(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), anchor[order], value[order])


def _best_anchors_original(overlap: Tensor, first_anchor: Tensor) -> tuple[Tensor, Tensor]:
    """Each object's best anchor; the first object of the list gets a contested one."""
    anchor = overlap.argmax(1)
    row = _is_best_of_slot(first_anchor + anchor, torch.zeros_like(first_anchor)).nonzero().flatten()
    return row, anchor[row]


def _is_best_of_slot(slot: Tensor, value: Tensor) -> Tensor:
    """(N,) bool, whether each item has the highest value of its slot (N,); of equal values the first one has it."""
    order = _sort_groups(slot, value)
    ordered = slot[order]
    best = torch.ones_like(slot, dtype=torch.bool)
    best[order[1:]] = ordered[1:] != ordered[:-1]
    return best


def _sort_groups(group: Tensor, value: Tensor) -> Tensor:
    """The order (N,) of items by group (N,), then by falling value (N,) from 0 on; equal items keep their order."""
    # One sort of integers instead of two: the bits of floats from 0 on are ordered as the floats.
    bits = value.float().view(torch.int32).long()
    return ((group << 32) - bits).argsort(stable=True)


def _ignore_crowds(labels: Tensor, batch: Batch, corners: Tensor) -> None:
    """Mark the anchors that lie mostly in a crowd region of their image in `labels` (B, A)."""
    regions = batch.crowd.nonzero().flatten()
    mostly_inside = intersection(batch.boxes[regions], corners) > area(corners) / 2
    region, anchor = mostly_inside.nonzero(as_tuple=True)
    labels[batch.image_index[regions[region]], anchor] = IGNORED
