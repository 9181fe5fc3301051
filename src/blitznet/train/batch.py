"""Batch: what one step learns from, as tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blitznet.data.train_sample import TrainSample


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """B examples of one size. The objects of all images stand in one list; `owner` says whose each is."""

    images: Tensor
    """(B, 3, h, w) uint8 RGB, channels last in memory"""
    boxes: Tensor
    """(T, 4) float32 x1 y1 x2 y2, fractions of the image"""
    labels: Tensor
    """(T,) int64 0..K-1"""
    owner: Tensor
    """(T,) int64 0..B-1, rising"""
    crowd: Tensor
    """(T,) bool, neither object nor background"""
    class_map: Tensor
    """(B, h, w) uint8 at the size of the head: 0 background, label + 1, 255 void"""
    box_classes: Tensor
    """(B, K) bool, of which classes every object has its box"""
    mask_classes: Tensor
    """(B, K) bool, of which classes every pixel is painted"""
    ids: tuple[str, ...]
    """B names, for messages"""

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, which the loader asks for when it feeds a GPU."""
        return self._each(lambda value: value.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def collate(examples: Sequence[TrainSample]) -> Batch:
    """Examples of one image size and one map size -> Batch."""
    counts = torch.tensor([len(example.labels) for example in examples])
    return Batch(
        images=torch.from_numpy(np.stack([example.image for example in examples])).permute(0, 3, 1, 2),
        boxes=torch.from_numpy(np.concatenate([example.boxes for example in examples])),  # (T, 4)
        labels=torch.from_numpy(np.concatenate([example.labels for example in examples])),
        owner=torch.repeat_interleave(counts),
        crowd=torch.from_numpy(np.concatenate([example.crowd for example in examples])),
        class_map=torch.from_numpy(np.stack([example.class_map for example in examples])),
        box_classes=torch.from_numpy(np.stack([example.box_classes for example in examples])),
        mask_classes=torch.from_numpy(np.stack([example.mask_classes for example in examples])),
        ids=tuple(example.id for example in examples),
    )
