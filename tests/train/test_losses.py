"""Losses: equal to slow versions in plain Python, worked values, partly annotated labels."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch
from blitznet.train.distillation import DetectorTargets
from blitznet.train.losses import (
    LossConfig,
    Losses,
    Normalizers,
    count_normalizers,
    hard_negatives,
    losses,
)
from blitznet.train.matching import IGNORED, Targets

ORIGINAL = LossConfig(match_original=True)


def targets_of(labels: list[list[int]], *, offsets: Tensor | None = None) -> Targets:
    """Targets with these labels (B, A), and with offsets (P, 4) or zeros."""
    tensor = torch.tensor(labels)
    positives = (tensor.view(-1) > 0).nonzero().flatten()
    offsets = torch.zeros(len(positives), 4) if offsets is None else offsets
    return Targets(tensor, positives, torch.zeros_like(positives), offsets)


def batch_of(images: int, *, classes: int = 2, size: int = 2) -> Batch:
    """A batch whose boxes and masks were annotated for all classes, and whose pixels are all void."""
    return Batch(
        images=torch.zeros(images, 3, 1, 1, dtype=torch.uint8),
        boxes=torch.zeros(0, 4),
        labels=torch.zeros(0, dtype=torch.int64),
        image_index=torch.zeros(0, dtype=torch.int64),
        crowd=torch.zeros(0, dtype=torch.bool),
        class_map=torch.full((images, size, size), IGNORE_INDEX, dtype=torch.uint8),
        box_classes=torch.ones(images, classes, dtype=torch.bool),
        mask_classes=torch.ones(images, classes, dtype=torch.bool),
        soft_labels=torch.zeros((0, 0, 0, 0), dtype=torch.uint8),
        soft_index=torch.zeros(0, dtype=torch.int64),
        soft_classes=torch.zeros((0, classes), dtype=torch.bool),
        ids=tuple(map(str, range(images))),
    )


def outputs_of(labels: Tensor, *, classes: int = 2, size: int = 2, seed: int | None = None) -> HeadOutputs:
    """Heads for labels (B, A) that gather gradients: zero, or random in double precision."""
    generator = torch.Generator().manual_seed(seed or 0)
    images, anchors = labels.shape
    shapes = [(images, anchors, 4), (images, anchors, classes + 1), (images, classes + 1, size, size)]
    if seed is None:
        tensors = [torch.zeros(shape) for shape in shapes]
    else:
        tensors = [3 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return HeadOutputs(*(tensor.requires_grad_() for tensor in tensors))


def tensors_of(outputs: HeadOutputs) -> tuple[Tensor, Tensor, Tensor]:
    assert outputs.offsets is not None
    assert outputs.logits is not None
    assert outputs.segmentation_logits is not None
    return outputs.offsets, outputs.logits, outputs.segmentation_logits


def random_labels(seed: int, *, images: int = 5, anchors: int = 20, classes: int = 4) -> tuple[Batch, Targets]:
    """Images with and without positives, ignored anchors, masks, and all kinds of partly annotated classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(1, classes + 1, (images, anchors))
    labels[rng.random((images, anchors)) < 0.85] = 0
    labels[rng.random((images, anchors)) < 0.1] = IGNORED
    labels[seed % images] = IGNORED
    labels[(seed + 1) % images, labels[(seed + 1) % images] > 0] = 0
    batch = batch_of(images, classes=classes, size=4)
    batch.box_classes[:] = torch.from_numpy(rng.random((images, classes)) < 0.7)
    batch.box_classes[0] = True
    batch.box_classes[seed % images] = False
    batch.mask_classes[:] = torch.from_numpy(rng.random((images, classes)) < 0.7)
    class_map = rng.integers(0, classes + 1, (images, 4, 4))
    class_map[rng.random(class_map.shape) < 0.3] = IGNORE_INDEX
    class_map[(seed + 2) % images] = IGNORE_INDEX
    batch.class_map[:] = torch.from_numpy(class_map)
    positives = int((labels > 0).sum())
    return batch, targets_of(labels.tolist(), offsets=torch.from_numpy(rng.normal(size=(positives, 4))))


def slow_cross_entropy(logits: NDArray[Any], label: int, annotated: NDArray[Any]) -> float:
    """Minus the logarithm of the probability of `label`, or of all that background may be."""
    odds = np.exp(logits - logits.max())
    chance = odds / odds.sum()
    accepted = [label] if label else [0, *(np.flatnonzero(~annotated) + 1)]
    return -math.log(sum(chance[c] for c in accepted))


def slow_classification(logits: NDArray[Any], labels: NDArray[Any], annotated: NDArray[Any]) -> float:
    """Cross-entropy with three negatives for each positive of an image, over the positives of the batch."""
    total = 0.0
    for image, row in enumerate(labels):
        costs = [slow_cross_entropy(logits[image, a], max(0, label), annotated[image]) for a, label in enumerate(row)]
        negatives = sorted((cost for cost, label in zip(costs, row, strict=True) if label == 0), reverse=True)
        positives = [cost for cost, label in zip(costs, row, strict=True) if label > 0]
        total += sum(positives) + sum(negatives[: 3 * max(1, len(positives))])
    return float(total / max(1, (labels > 0).sum()))


def slow_segmentation(logits: NDArray[Any], class_map: NDArray[Any], annotated: NDArray[Any]) -> float:
    """Mean cross-entropy over the labeled pixels of the batch."""
    costs = [
        slow_cross_entropy(logits[image, :, y, x], class_map[image, y, x], annotated[image])
        for image, y, x in np.argwhere(class_map != IGNORE_INDEX)
    ]
    return float(np.mean(costs))


def slow_localization(offsets: NDArray[Any], positives: NDArray[Any], expected: NDArray[Any]) -> float:
    total = 0.0
    for row, target in zip(offsets.reshape(-1, 4)[positives], expected, strict=True):
        for d in np.abs(row - target):
            total += 0.5 * d * d if d < 1 else d - 0.5
    return total / max(1, len(positives))


def values(result: Losses) -> list[float]:
    return [result.segmentation.item(), result.classification.item(), result.localization.item()]


@pytest.mark.parametrize("seed", range(10))
def test_equals_slow_version(seed: int) -> None:
    batch, targets = random_labels(seed)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=seed + 1)
    result = losses(outputs, batch, targets)
    offsets, logits, class_map = (tensor.detach().numpy() for tensor in tensors_of(outputs))
    expected = [
        slow_segmentation(class_map, batch.class_map.numpy(), batch.mask_classes.numpy()),
        slow_classification(logits, targets.labels.numpy(), batch.box_classes.numpy()),
        slow_localization(offsets, targets.positives.numpy(), targets.offsets.numpy()),
    ]
    assert values(result) == pytest.approx(expected, rel=1e-9)
    assert result.total.item() == pytest.approx(sum(expected), rel=1e-9)
    assert result.normalizers == Normalizers(
        int((targets.labels > 0).sum()), int((batch.class_map != IGNORE_INDEX).sum())
    )


@pytest.mark.parametrize(
    ("labels", "expected", "original"),
    [
        pytest.param([[1, 0, 0, 0], [IGNORED] * 4], 4.394449, 4.394449, id="P=1"),
        pytest.param([[1, 2, 0, 0], [2, 0, 0, 0]], 2.929633, 1.464816, id="P=3"),
        pytest.param([[1, 2, 1, 0], [1, 2, 0, 0]], 1.757780, 1.098612, id="P=5"),
        pytest.param([[IGNORED] * 4, [IGNORED] * 4], 0.0, 0.0, id="nothing annotated"),
        pytest.param([[0] * 4, [0] * 4], 6 * math.log(3), 0.0, id="no object"),
    ],
)
def test_worked_values_of_zero_logits(labels: list[list[int]], expected: float, original: float) -> None:
    targets = targets_of(labels)
    outputs = outputs_of(targets.labels)
    assert losses(outputs, batch_of(2), targets).classification.item() == pytest.approx(expected, abs=2e-6)
    assert losses(outputs, batch_of(2), targets, ORIGINAL).classification.item() == pytest.approx(original, abs=2e-6)


def test_worked_value_of_smooth_l1() -> None:
    targets = targets_of([[1, 0], [0, 0]], offsets=torch.tensor([[0.5, 2, 0, 0]]))
    assert losses(outputs_of(targets.labels), batch_of(2), targets).localization.item() == pytest.approx(1.625)


def test_worked_value_of_uniform_class_map() -> None:
    batch = batch_of(1, classes=20)
    batch.class_map[:] = torch.tensor([[0, 20], [IGNORE_INDEX, 3]])
    targets = targets_of([[IGNORED] * 3])
    result = losses(outputs_of(targets.labels, classes=20), batch, targets)
    assert result.segmentation.item() == pytest.approx(3.044522, abs=1e-6)
    assert result.normalizers.labeled_pixels == 3


def test_marginal_of_zero_logits_is_a_sum_of_probabilities() -> None:
    batch = batch_of(1, classes=3)
    batch.box_classes[0] = torch.tensor([True, False, True])
    batch.mask_classes[0] = torch.tensor([False, False, True])
    batch.class_map[:] = 0
    targets = targets_of([[0, 0, 0]])
    result = losses(outputs_of(targets.labels, classes=3), batch, targets)
    assert result.classification.item() == pytest.approx(3 * math.log(4 / 2), rel=1e-6)
    assert result.segmentation.item() == pytest.approx(math.log(4 / 3), rel=1e-6)


@pytest.mark.parametrize("config", [LossConfig(), ORIGINAL], ids=["per image", "original"])
@pytest.mark.parametrize("seed", range(3))
def test_gradients(config: LossConfig, seed: int) -> None:
    batch, targets = random_labels(seed, images=3, anchors=8, classes=3)
    outputs = outputs_of(targets.labels, classes=3, size=4, seed=seed + 20)

    def total(offsets: Tensor, logits: Tensor, class_map: Tensor) -> Tensor:
        return losses(HeadOutputs(offsets, logits, class_map), batch, targets, config).total

    assert torch.autograd.gradcheck(total, tensors_of(outputs))


def test_hard_negatives_follow_the_logits() -> None:
    targets = targets_of([[1, 0, 0, 0, 0, 0], [0, 0, IGNORED, 0, 0, 0]])
    logits = torch.zeros(2, 6, 3)
    logits[0, [1, 3, 5], 2] = torch.tensor([3.0, 2.0, 1.0])
    logits[1, [1, 2, 4, 5], 1] = torch.tensor([3.0, 9.0, 2.0, 1.0])
    annotated = batch_of(2).box_classes
    assert hard_negatives(logits, targets, annotated, LossConfig()).tolist() == [1, 3, 5, 7, 10, 11]
    logits[0, 2, 1] = 4.0
    assert hard_negatives(logits, targets, annotated, LossConfig()).tolist() == [2, 1, 3, 7, 10, 11]
    assert hard_negatives(logits, targets, annotated, LossConfig(negative_ratio=1)).tolist() == [2, 7]
    assert hard_negatives(logits, targets, annotated, ORIGINAL).tolist() == [2, 1, 7]


def test_hard_negatives_ignore_classes_that_are_not_annotated() -> None:
    targets = targets_of([[0, 0, 0, 0, 0]])
    logits = torch.zeros(1, 5, 3)
    logits[0, :, 2] = torch.arange(5.0)  # hard only if class 2 is annotated
    logits[0, 0, 1] = 1.0
    annotated = torch.tensor([[True, False]])
    assert hard_negatives(logits, targets, annotated, LossConfig(negative_ratio=1)).tolist() == [0]
    assert hard_negatives(logits, targets, torch.tensor([[True, True]]), LossConfig(negative_ratio=1)).tolist() == [4]


def gradients(outputs: HeadOutputs) -> list[Tensor]:
    grads = [tensor.grad for tensor in tensors_of(outputs) if tensor.grad is not None]
    assert len(grads) == 3
    return grads


@pytest.mark.parametrize("config", [LossConfig(), ORIGINAL], ids=["per image", "original"])
def test_no_annotation_no_loss(config: LossConfig) -> None:
    batch = batch_of(2)
    batch.box_classes[:] = False
    batch.mask_classes[:] = False
    targets = targets_of([[IGNORED] * 4] * 2)
    outputs = outputs_of(targets.labels, seed=1)
    result = losses(outputs, batch, targets, config)
    assert values(result) == [0.0, 0.0, 0.0]
    result.total.backward()  # type: ignore[no-untyped-call]
    assert not any(grad.any() for grad in gradients(outputs))


def test_only_annotated_images_have_gradients() -> None:
    batch = batch_of(3)
    batch.class_map[0] = torch.tensor([[0, 1], [2, IGNORE_INDEX]])
    batch.mask_classes[1:] = False
    batch.box_classes[0] = False
    targets = targets_of([[IGNORED] * 4, [2, 0, 0, IGNORED], [0] * 4])
    outputs = outputs_of(targets.labels, seed=2)
    losses(outputs, batch, targets).total.backward()  # type: ignore[no-untyped-call]
    offsets, logits, class_map = gradients(outputs)
    assert not class_map[1:].any()
    assert not class_map[0, :, 1, 1].any()
    assert class_map[0, :, 0, 0].all()
    assert not logits[0].any()
    assert logits[1].any(1).tolist() == [True, True, True, False]
    assert logits[2].any(1).sum() == 3
    assert offsets.any(2).nonzero().tolist() == [[1, 0]]


def test_class_that_is_not_annotated_is_not_suppressed() -> None:
    batch = batch_of(1)
    batch.class_map[:] = 0
    batch.box_classes[0, 1] = batch.mask_classes[0, 1] = False
    targets = targets_of([[0]])
    outputs = outputs_of(targets.labels)
    losses(outputs, batch, targets).total.backward()  # type: ignore[no-untyped-call]
    _, logits, class_map = gradients(outputs)
    assert logits[0, 0, 2] < 0 < logits[0, 0, 1]
    assert (class_map[0, 2] < 0).all()
    assert (class_map[0, 1] > 0).all()


@pytest.mark.parametrize("missing", ["detection", "segmentation"])
def test_task_without_outputs_has_no_loss(missing: str) -> None:
    batch, targets = random_labels(3)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=4)
    both = losses(outputs, batch, targets)
    none: dict[str, Any] = (
        {"segmentation_logits": None} if missing == "segmentation" else {"offsets": None, "logits": None}
    )
    single = losses(replace(outputs, **none), batch, targets)
    if missing == "segmentation":
        assert values(single) == [0.0, both.classification.item(), both.localization.item()]
    else:
        assert values(single) == [both.segmentation.item(), 0.0, 0.0]
    assert single.total.item() == pytest.approx(sum(values(single)))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_summed_in_float32(kind: torch.dtype) -> None:
    batch, targets = random_labels(6)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=5)
    low = HeadOutputs(*(tensor.to(kind) for tensor in tensors_of(outputs)))
    same = HeadOutputs(*(tensor.float() for tensor in tensors_of(low)))
    result, expected = losses(low, batch, targets), losses(same, batch, targets)
    assert result.total.dtype == torch.float32
    assert values(result) == values(expected)


def test_extreme_logits_stay_finite() -> None:
    batch = batch_of(2)
    batch.class_map[:] = 1
    batch.box_classes[1, 0] = False
    targets = targets_of([[1, 0, 0], [0, 0, 0]])
    logits = torch.tensor([0.0, -1e4, 1e4]).repeat(2, 3, 1).requires_grad_()
    class_map = torch.tensor([0.0, -1e4, 1e4])[:, None, None].repeat(2, 1, 2, 2).requires_grad_()
    result = losses(HeadOutputs(None, logits, class_map), batch, targets)
    result.total.backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(result.total.item())
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_weights_of_the_sum() -> None:
    batch, targets = random_labels(1)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=2)
    result = losses(outputs, batch, targets, LossConfig(segmentation=2.0, classification=0.5, localization=0.0))
    assert result.total.item() == pytest.approx(2 * result.segmentation.item() + 0.5 * result.classification.item())
    assert result.to_floats() == pytest.approx(
        {
            "segmentation": result.segmentation.item(),
            "classification": result.classification.item(),
            "localization": 0.0 + result.localization.item(),
            "total": result.total.item(),
        }
    )


def test_mean_over_parts_is_the_loss_of_the_batch() -> None:
    batch, targets = random_labels(2, images=4)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=7)
    entire = losses(outputs, batch, targets)
    normalizers = count_normalizers(batch, targets)
    parts = [losses(*half(outputs, batch, targets, k), normalizers=normalizers, num_parts=2) for k in range(2)]
    for name in ("segmentation", "classification", "localization", "total"):
        mean = sum(getattr(part, name).item() for part in parts) / 2
        assert mean == pytest.approx(getattr(entire, name).item(), rel=1e-9)


def half(outputs: HeadOutputs, batch: Batch, targets: Targets, k: int) -> tuple[HeadOutputs, Batch, Targets]:
    """Images 0 and 1, or 2 and 3, of four."""
    rows = slice(2 * k, 2 * k + 2)
    own = targets.positives // targets.labels.shape[1] // 2 == k
    cut = replace(
        batch,
        class_map=batch.class_map[rows],
        box_classes=batch.box_classes[rows],
        mask_classes=batch.mask_classes[rows],
        ids=batch.ids[rows],
    )
    return (
        HeadOutputs(*(tensor[rows] for tensor in tensors_of(outputs))),
        cut,
        targets_of(targets.labels[rows].tolist(), offsets=targets.offsets[own]),
    )


@dataclass(frozen=True)
class SquareTargets:
    """A teacher that expects 0, and has counts of its own for anchors and for cells."""

    num_objects: int
    num_cells: int

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float) -> Tensor:
        offsets, _, class_map = tensors_of(outputs)
        return offsets.square().sum() / num_objects + class_map.square().sum() / num_cells


def test_soft_labels_and_teachers_are_divided_by_the_counts_of_all_parts() -> None:
    """Two parts of one and three images, with other numbers of cells and of what the teacher predicts."""
    soft = torch.from_numpy(np.random.default_rng(0).integers(1, 256, (3, 3, 2, 2)).astype(np.uint8))
    soft[0, :, 0, 1] = 0
    known = torch.ones(3, 2, dtype=torch.bool)
    batch = replace(batch_of(4), soft_labels=soft, soft_index=torch.tensor([0, 1, 3]), soft_classes=known)
    targets, outputs = targets_of([[IGNORED]] * 4), outputs_of(torch.zeros(4, 1), seed=3)
    config, teacher = LossConfig(distillation=0.5), SquareTargets(5, 7)
    entire = losses(outputs, batch, targets, config, teacher_targets=teacher)
    normalizers = count_normalizers(batch, targets, teacher)
    assert normalizers == Normalizers(0, 0, 11, 5, 7)
    sums = {"soft_labels": 0.0, "distillation": 0.0, "total": 0.0}
    for rows, soft_rows, counts in ((slice(0, 1), slice(0, 1), (2, 0)), (slice(1, 4), slice(1, 3), (3, 7))):
        own = replace(
            batch,
            class_map=batch.class_map[rows],
            box_classes=batch.box_classes[rows],
            mask_classes=batch.mask_classes[rows],
            soft_labels=soft[soft_rows],
            soft_index=batch.soft_index[soft_rows] - rows.start,
            soft_classes=known[soft_rows],
            ids=batch.ids[rows],
        )
        part = losses(
            HeadOutputs(*(tensor[rows] for tensor in tensors_of(outputs))),
            own,
            targets_of(targets.labels[rows].tolist()),
            config,
            teacher_targets=SquareTargets(*counts),
            normalizers=normalizers,
            num_parts=2,
        )
        for name in sums:
            sums[name] += getattr(part, name).item() / 2
    assert sums == pytest.approx({name: getattr(entire, name).item() for name in sums}, rel=1e-9)
    assert entire.to_floats()["soft_labels"] > 0


def slow_distillation(*predictions: NDArray[Any]) -> float:
    """Args: logits and offsets of the student, logits and offsets of the teacher."""
    total = 0.0
    rows = (values.reshape(-1, values.shape[-1]) for values in predictions)
    for student, box, teacher, teacher_box in zip(*rows, strict=True):
        p, q = (np.exp(row) / np.exp(row).sum() for row in (teacher, student))
        if p[0] < 0.98:
            distance = np.abs(box - teacher_box)
            smooth_l1 = np.where(distance < 1, distance**2 / 2, distance - 0.5).sum()
            total += (1 - p[0]) * float((p * np.log(p / q)).sum() + smooth_l1)
    return total


@pytest.mark.parametrize("channels", [[0, 1, 2, 3, 4], [0, 2, 3]])
def test_distillation_equals_slow_version(channels: list[int]) -> None:
    batch, targets = random_labels(3)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=1)
    torch.manual_seed(2)
    assert outputs.logits is not None
    assert outputs.offsets is not None
    teacher = torch.randn(5, 14, len(channels), dtype=torch.float64) * 3
    boxes = torch.randn(5, 14, 4, dtype=torch.float64) * 2
    teacher_targets = DetectorTargets(teacher, boxes, torch.tensor(channels), len(targets.positives))
    result = losses(outputs, batch, targets, LossConfig(distillation=0.5), teacher_targets=teacher_targets)
    expected = (
        slow_distillation(
            outputs.logits[:, 6:, channels].detach().numpy(),
            outputs.offsets[:, 6:].detach().numpy(),
            teacher.numpy(),
            boxes.numpy(),
        )
        / result.normalizers.positives
    )
    assert result.distillation is not None
    assert result.distillation.item() == pytest.approx(expected, rel=1e-5)
    plain = losses(outputs, batch, targets)
    assert plain.distillation is None
    assert "distillation" not in plain.to_floats()
    assert result.total.item() == pytest.approx(plain.total.item() + expected / 2, rel=1e-5)


def test_no_distillation_loss_for_the_teachers_own_predictions() -> None:
    batch, targets = random_labels(3)
    outputs = outputs_of(targets.labels, classes=4, size=4, seed=1)
    assert outputs.logits is not None
    assert outputs.offsets is not None
    own = DetectorTargets(outputs.logits.detach(), outputs.offsets.detach(), torch.arange(5), len(targets.positives))
    result = losses(outputs, batch, targets, teacher_targets=own)
    assert result.distillation is not None
    assert result.distillation.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_soft_label_loss_equals_slow_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes, size = 3, 4, 2
    soft = rng.integers(0, 256, (2, classes + 1, size, size)).astype(np.uint8)
    soft[1, :, 0, 1] = 0  # no label
    known = np.ones((2, classes), np.bool_)
    known[0, [1, 3]] = seed % 2 == 0
    soft[0, 1:][~known[0]] = 0
    batch = replace(
        batch_of(images, classes=classes),
        soft_labels=torch.from_numpy(soft),
        soft_index=torch.tensor([0, 2]),
        soft_classes=torch.from_numpy(known),
    )
    outputs = outputs_of(torch.zeros(images, 1), classes=classes, seed=seed)
    logits = tensors_of(outputs)[2].detach().numpy()
    total, cells = 0.0, 0
    for index, image in enumerate((0, 2)):
        for y, x in np.ndindex(size, size):
            weights = soft[index, :, y, x] / max(1, soft[index, :, y, x].sum())
            if not weights.any():
                continue
            cells += 1
            odds = np.exp(logits[image, :, y, x])
            chance = odds / odds.sum()
            chance[0] += chance[1:][~known[index]].sum()
            total += sum(w * math.log(w / c) for w, c in zip(weights, chance, strict=True) if w > 0)
    labels = targets_of([[IGNORED]] * images)
    result = losses(outputs, batch, labels, LossConfig(soft_labels=0.5))
    assert result.soft_labels is not None
    assert result.soft_labels.item() == pytest.approx(total / cells)
    assert result.total.item() == pytest.approx(0.5 * total / cells)
    assert count_normalizers(batch, labels).soft_cells == cells


def test_logits_are_resized_to_the_class_map() -> None:
    batch = batch_of(1, size=8)
    batch.class_map[:] = 1
    outputs = outputs_of(torch.zeros(1, 1), seed=0)
    logits = tensors_of(outputs)[2]
    resized = torch.nn.functional.interpolate(logits, size=(8, 8), mode="bilinear").detach().numpy()
    expected = slow_segmentation(resized, batch.class_map.numpy(), batch.mask_classes.numpy())
    assert losses(outputs, batch, targets_of([[IGNORED]])).segmentation.item() == pytest.approx(expected)
