"""Small images with ground truth and predictions, to test metrics on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blitznet.core.arrays import ClassMap
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.metrics.state import Accumulator, EvaluationState
from blitznet.postprocess.result import Result, Segmentation

SIZE = 100
"""height and width of the images"""
NAMES = ("cat", "dog", "cow")


@dataclass(frozen=True)
class ArrayMask:
    """A class map in memory."""

    values: ClassMap

    def read(self) -> ClassMap:
        return self.values


def sample(
    name: str,
    boxes: ArrayLike = (),
    labels: Sequence[int] = (),
    *,
    difficult: Sequence[bool] | None = None,
    crowd: Sequence[bool] | None = None,
    box_classes: Sequence[bool] | None = None,
    mask: ClassMap | None = None,
    mask_classes: Sequence[bool] | None = None,
) -> Sample:
    count, every = len(labels), [True] * len(NAMES)
    return Sample(
        id=name,
        image=ImageSource(np.full((SIZE, SIZE, 3), len(name), np.uint8)),
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=np.asarray(labels, np.int64),
        difficult=np.asarray([False] * count if difficult is None else difficult, np.bool_),
        crowd=np.asarray([False] * count if crowd is None else crowd, np.bool_),
        annotated_box_classes=np.asarray(every if box_classes is None else box_classes, np.bool_),
        annotated_mask_classes=np.asarray(
            (every if mask_classes is None else mask_classes) if mask is not None else [False] * 3
        ),
        mask=None if mask is None else ArrayMask(mask),
    )


def result(
    boxes: ArrayLike = (),
    labels: Sequence[int] = (),
    scores: ArrayLike = (),
    *,
    class_map: ClassMap | None = None,
    names: tuple[str, ...] = NAMES,
) -> Result:
    return Result(
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        scores=np.asarray(scores, np.float32),
        labels=np.asarray(labels, np.int64),
        class_names=names,
        size=(SIZE, SIZE),
        segmentation=None if class_map is None else Segmentation.from_class_map(class_map),
    )


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 40, (count, 2))], 1).astype(np.float32)


def random_case(rng: np.random.Generator, name: str) -> tuple[Result, Sample]:
    """An image with a few objects, and predictions some of which are near them."""
    count = int(rng.integers(0, 6))
    boxes, labels = random_boxes(rng, count), rng.integers(0, 3, count)
    mask = rng.integers(0, 4, (SIZE, SIZE)).astype(np.uint8)
    mask[:10] = 255
    truth = sample(
        name,
        boxes,
        labels.tolist(),
        difficult=(rng.random(count) < 0.2).tolist(),
        crowd=(rng.random(count) < 0.1).tolist(),
        mask=mask,
    )
    near = boxes.repeat(3, 0) + rng.normal(0, 3, (3 * count, 4)).astype(np.float32)
    wild = random_boxes(rng, 8)
    order = np.argsort(-(scores := rng.random(len(near) + 8)))
    predicted = np.concatenate([labels.repeat(3), rng.integers(0, 3, 8)])
    noisy = np.where(rng.random(mask.shape) < 0.3, rng.integers(0, 4, mask.shape), np.where(mask == 255, 0, mask))
    return result(
        np.concatenate([near, wild])[order], predicted[order].tolist(), scores[order], class_map=noisy.astype(np.uint8)
    ), truth


@dataclass(frozen=True)
class MemoryDataset:
    """Samples in memory."""

    title: str
    samples: tuple[Sample, ...]
    class_names: tuple[str, ...] = NAMES

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(sample.id for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self.samples[index]


def state_of(pairs: Sequence[tuple[Result, Sample]]) -> EvaluationState:
    """The evaluation state of predictions with their samples."""
    accumulator = Accumulator(class_names=NAMES)
    for predicted, truth in pairs:
        accumulator.update(predicted, truth)
    return accumulator.compute()
