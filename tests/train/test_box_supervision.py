"""The loss of class maps from boxes, against a slow version, and what a network learns from it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch
from blitznet.train.box_supervision import BoxRegions, box_supervision_loss
from blitznet.train.losses import LossConfig, Losses, Normalizers, losses
from blitznet.train.matching import Targets

H, W, CLASSES = 6, 8, 3


def make_batch(seed: int, images: int = 3) -> Batch:
    """Images with boxes of all kinds; the first has masks of all classes, the second knows one class by a teacher."""
    rng = np.random.default_rng(seed)
    count = 4 * images
    corners = np.sort(rng.random((count, 2, 2)), axis=1).astype(np.float32)
    mask_classes, box_classes = np.zeros((images, CLASSES), np.bool_), rng.random((images, CLASSES)) < 0.8
    mask_classes[0] = True
    soft_classes = np.zeros((1, CLASSES), np.bool_)
    soft_classes[0, 0] = True
    return Batch(
        images=torch.zeros(images, 3, 1, 1, dtype=torch.uint8),
        boxes=torch.from_numpy(corners.reshape(count, 4)),
        labels=torch.from_numpy(rng.integers(-1, CLASSES, count)),
        image_index=torch.arange(images).repeat_interleave(4),
        crowd=torch.from_numpy(rng.random(count) < 0.3),
        class_map=torch.full((images, H, W), 255, dtype=torch.uint8),
        box_classes=torch.from_numpy(box_classes),
        mask_classes=torch.from_numpy(mask_classes),
        soft_labels=torch.zeros((1, CLASSES + 1, H, W), dtype=torch.uint8),
        soft_index=torch.tensor([1]),
        soft_classes=torch.from_numpy(soft_classes),
        ids=tuple(map(str, range(images))),
    )


def slow_losses(logits: NDArray[Any], batch: Batch) -> tuple[float, float, int, int]:
    """Marginal and projection loss pixel by pixel, and the counts of images and of pairs."""
    outside = projection = 0.0
    num_images = num_pairs = 0
    for image in range(len(batch)):
        weak = [bool(batch.box_classes[image, c]) and not bool(batch.mask_classes[image, c]) for c in range(CLASSES)]
        for row, index in enumerate(batch.soft_index.tolist()):
            weak = [w and not (index == image and bool(batch.soft_classes[row, c])) for c, w in enumerate(weak)]
        num_images += any(weak)
        p = np.exp(logits[image]) / np.exp(logits[image]).sum(0)
        covered = np.zeros((CLASSES, H, W), np.bool_)
        boxed = set()
        for box, label, owner, crowd in zip(
            batch.boxes.tolist(), batch.labels.tolist(), batch.image_index.tolist(), batch.crowd.tolist(), strict=True
        ):
            if owner == image and label >= 0 and weak[label]:
                for y in range(H):
                    for x in range(W):
                        center_x, center_y = np.float32((x + 0.5) / W), np.float32((y + 0.5) / H)
                        if box[0] <= center_x <= box[2] and box[1] <= center_y <= box[3]:
                            covered[label, y, x] = True
                boxed |= set() if crowd else {label}
        if any(weak):
            costs = [
                -np.log(p[0, y, x] + sum(p[c + 1, y, x] for c in range(CLASSES) if not weak[c] or covered[c, y, x]))
                for y in range(H)
                for x in range(W)
            ]
            outside += float(np.mean(costs))
        for c in boxed:
            num_pairs += 1
            inside = p[c + 1] * covered[c]
            for axis in (0, 1):
                a, b = inside.max(axis), covered[c].any(axis).astype(float)
                projection += (1 - (2 * (a * b).sum() / ((a**2).sum() + b.sum()) if b.any() else 1)) / 2
    return outside, projection, num_images, num_pairs


@pytest.mark.parametrize("seed", range(12))
def test_equals_slow_version(seed: int) -> None:
    batch = make_batch(seed)
    logits = torch.randn(3, CLASSES + 1, H, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    regions = BoxRegions.of(batch)
    outside, projection = box_supervision_loss(logits, batch, regions)
    expected = slow_losses(logits.numpy(), batch)
    assert (outside.item(), projection.item()) == pytest.approx(expected[:2], rel=1e-9)
    assert (regions.num_images, regions.num_regions(batch)) == expected[2:]


def images_of(batch: Batch, rows: slice) -> Batch:
    """Some images of a batch."""
    own = (batch.image_index >= rows.start) & (batch.image_index < rows.stop)
    soft = (batch.soft_index >= rows.start) & (batch.soft_index < rows.stop)
    return replace(
        batch,
        boxes=batch.boxes[own],
        labels=batch.labels[own],
        image_index=batch.image_index[own] - rows.start,
        crowd=batch.crowd[own],
        class_map=batch.class_map[rows],
        box_classes=batch.box_classes[rows],
        mask_classes=batch.mask_classes[rows],
        soft_labels=batch.soft_labels[soft],
        soft_index=batch.soft_index[soft] - rows.start,
        soft_classes=batch.soft_classes[soft],
        ids=batch.ids[rows],
    )


def test_parts_of_a_batch_are_divided_by_the_counts_of_all_parts() -> None:
    batch = make_batch(2, images=6)
    logits = torch.randn(6, CLASSES + 1, H, W, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    nothing = torch.zeros(0, dtype=torch.int64)

    def compute(part: Batch, rows: slice, normalizers: Normalizers | None, num_parts: int) -> Losses:
        return losses(
            HeadOutputs(None, None, logits[rows]),
            part,
            Targets(torch.full((len(part), 1), -1), nothing, nothing, torch.zeros(0, 4)),
            LossConfig(box_segmentation=0.5),
            box_regions=BoxRegions.of(part),
            normalizers=normalizers,
            num_parts=num_parts,
        )

    entire = compute(batch, slice(0, 6), None, 1)
    outside, projection, num_images, num_pairs = slow_losses(logits.numpy(), batch)
    assert num_images > 1
    assert num_pairs > 1
    assert entire.box_segmentation is not None
    assert entire.box_segmentation.item() == pytest.approx(outside / num_images + projection / num_pairs, rel=1e-9)
    assert entire.to_floats()["box_segmentation"] == entire.box_segmentation.item()
    assert entire.normalizers == Normalizers(0, 0, box_images=num_images, box_regions=num_pairs)
    parts = [compute(images_of(batch, rows), rows, entire.normalizers, 2) for rows in (slice(0, 2), slice(2, 6))]
    for name in ("box_segmentation", "total"):
        mean = sum(getattr(part, name).item() for part in parts) / 2
        assert mean == pytest.approx(getattr(entire, name).item(), rel=1e-9)


def test_a_map_learns_to_fill_boxes_and_nothing_else() -> None:
    batch = replace(
        make_batch(0, images=1),
        boxes=torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 1.0]]),
        labels=torch.tensor([0, 1]),
        image_index=torch.tensor([0, 0]),
        crowd=torch.tensor([False, False]),
        box_classes=torch.tensor([[True, True, True]]),
        mask_classes=torch.zeros(1, CLASSES, dtype=torch.bool),
        soft_index=torch.zeros(0, dtype=torch.int64),
    )
    logits = torch.zeros(1, CLASSES + 1, H, W, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward(box_supervision_loss(logits, batch, BoxRegions.of(batch)))
        optimizer.step()
    result = logits.argmax(1)[0]
    for label, (rows, columns) in ((1, (range(3), range(4))), (2, (range(6), range(2, 6)))):
        ys, xs = (result == label).nonzero(as_tuple=True)
        assert set(ys.tolist()) == set(rows), "each row of the box, and no other"
        assert set(xs.tolist()) == set(columns)
    assert not (result == 3).any(), "a class that has boxes elsewhere only"


def test_nothing_is_learned_where_masks_or_a_teacher_know_more() -> None:
    batch = make_batch(1)
    batch = replace(batch, mask_classes=batch.mask_classes | batch.box_classes)
    logits = torch.randn(3, CLASSES + 1, H, W, requires_grad=True)
    regions = BoxRegions.of(batch)
    assert (regions.num_images, regions.num_regions(batch)) == (0, 0)
    result = box_supervision_loss(logits, batch, regions)
    assert [loss.item() for loss in result] == [0, 0]
    torch.autograd.backward(result)
    assert logits.grad is not None
    assert not logits.grad.any()
