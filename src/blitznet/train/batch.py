"""Batch: the images and labels of one step as tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.spec import Spec
from blitznet.data.train_sample import TrainSample


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B images of one size. The T objects of all images are in one list; `image_index` has the image of each."""

    images: Tensor
    """(B, 3, h, w) uint8 RGB, channels last in memory"""
    boxes: Tensor
    """(T, 4) float32 x1 y1 x2 y2, fractions of the image"""
    labels: Tensor
    """(T,) int64 0..K-1"""
    image_index: Tensor
    """(T,) int64 0..B-1, ascending: index of the object's image"""
    crowd: Tensor
    """(T,) bool, regions that are neither object nor background"""
    class_map: Tensor
    """(B, h, w) uint8: 0 background, label + 1, 255 ignored; the segmentation logits are resized to its size"""
    box_classes: Tensor
    """(B, K) bool, classes of which every object has a box"""
    mask_classes: Tensor
    """(B, K) bool, classes of which every pixel is labeled"""
    soft_labels: Tensor
    """(B', C, h, w) uint8 at the size of the segmentation logits: probabilities, 255 for 1; 0 in cells without"""
    soft_index: Tensor
    """(B',) int64: the images that have soft labels"""
    soft_classes: Tensor
    """(B', K) bool, classes that the teacher knows"""
    ids: tuple[str, ...]
    """ids of the B images, for error messages"""

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on `device`."""
        return self._apply(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory; the data loader calls this if there is a GPU."""
        return self._apply(lambda value: value.pin_memory())

    def _apply(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def collate(samples: Sequence[TrainSample]) -> Batch:
    """Stack samples of one image size and one map size to a batch."""
    soft = [sample.soft_labels for sample in samples if sample.soft_labels is not None]
    soft_classes = [sample.soft_classes for sample in samples if sample.soft_classes is not None]
    counts = torch.tensor([len(sample.labels) for sample in samples])
    return Batch(
        images=torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2),
        boxes=torch.from_numpy(np.concatenate([sample.boxes for sample in samples])),  # (T, 4)
        labels=torch.from_numpy(np.concatenate([sample.labels for sample in samples])),
        image_index=torch.repeat_interleave(counts),
        crowd=torch.from_numpy(np.concatenate([sample.crowd for sample in samples])),
        class_map=torch.from_numpy(np.stack([sample.class_map for sample in samples])),
        box_classes=torch.from_numpy(np.stack([sample.annotated_box_classes for sample in samples])),
        mask_classes=torch.from_numpy(np.stack([sample.annotated_mask_classes for sample in samples])),
        soft_labels=torch.from_numpy(np.stack(soft)) if soft else torch.zeros((0, 0, 0, 0), dtype=torch.uint8),
        soft_index=torch.tensor([i for i, sample in enumerate(samples) if sample.soft_labels is not None]).long(),
        soft_classes=torch.from_numpy(np.stack(soft_classes)) if soft else torch.zeros((0, 0), dtype=torch.bool),
        ids=tuple(sample.id for sample in samples),
    )


def drop_unpredicted(batch: Batch, spec: Spec) -> Batch:
    """The batch without labels of classes that a head does not predict: for that head they are background.

    No training set annotates all objects of such a class, but some sets have labels of it. The logits of the class are
    constant, so the loss of a label would be huge, and no step could lower it.

    Args:
        batch: A batch.
        spec: The network's spec.
    """
    if spec.detection_classes is not None:
        predicted = torch.tensor(spec.predicts("detection"), device=batch.labels.device)
        selected = batch.crowd | predicted[batch.labels]
        objects = {name: getattr(batch, name)[selected] for name in ("boxes", "labels", "image_index", "crowd")}
        batch = replace(batch, **objects)
    if spec.segmentation_classes is not None:
        predicted = torch.tensor(spec.predicts("segmentation"), device=batch.class_map.device)
        values = torch.arange(IGNORE_INDEX + 1, dtype=torch.uint8, device=batch.class_map.device)
        values[1 : 1 + len(predicted)] *= predicted
        batch = replace(batch, class_map=values[batch.class_map.long()])
    return batch
