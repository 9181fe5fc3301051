"""Mosaic: four samples in the quadrants of one training image (Bochkovskiy et al., YOLOv4, 2020).

Each sample is augmented by the policy at the size of its quadrant. Samples of one mosaic have the same annotated
classes, so these are also the mosaic's: background of any quadrant means the same.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX
from blitznet.core.sample import Sample
from blitznet.data.augment import MIN_OBJECT_SIZE, Policy, draw_window, warp_class_map, warp_image
from blitznet.data.color_jitter import draw_color_steps
from blitznet.data.crop import Region, transform_boxes
from blitznet.data.soft_labels import warp_soft_labels
from blitznet.data.train_sample import TrainSample

NUM_IMAGES = 4
"""images of a mosaic"""
CENTER = (0.35, 0.65)
"""range of the point where the quadrants meet, fractions of height and width"""


def mosaic(
    samples: Sequence[Sample],
    rng: np.random.Generator,
    policy: Policy,
    *,
    size: tuple[int, int],
    map_size: tuple[int, int],
    soft_size: tuple[int, int] | None = None,
) -> TrainSample:
    """Combine four samples to one training sample.

    Args:
        samples: Four samples with the same annotated classes; the first one names the result.
        rng: Source of all randomness.
        policy: Transforms of each sample and their probabilities.
        size: (h, w) of the image.
        map_size: (mh, mw) of the class map.
        soft_size: (h, w) of the soft labels; that of the class map by default.

    Raises:
        ValueError: There are not four samples, or their annotated classes differ.
        DataError: An image or a mask cannot be read.
    """
    if len(samples) != NUM_IMAGES or len({annotation_key(sample) for sample in samples}) > 1:
        raise ValueError(f"expected {NUM_IMAGES} samples with the same annotated classes, got others")
    soft_size = soft_size or map_size
    image = np.empty((*size, 3), np.uint8)
    class_map = np.full(map_size, IGNORE_INDEX, np.uint8)
    soft_labels: NDArray[np.uint8] | None = None
    boxes, labels, crowd = [], [], []
    for sample, region in zip(samples, draw_quadrants(size, rng), strict=True):
        x1, y1, x2, y2 = region
        image_size, quadrant = sample.image.size(), (y2 - y1, x2 - x1)
        window = draw_window(image_size, sample.boxes[~sample.crowd], rng, policy)
        steps = draw_color_steps(policy.color, rng)
        image[y1:y2, x1:x2] = warp_image(sample.image, window, image_size, quadrant, steps, policy.fill)
        canvas = window.embed(region, size)
        rows, columns = covered_cells(region, size, map_size)
        class_map[rows, columns] = warp_class_map(sample, canvas, image_size, map_size)[rows, columns]
        part = warp_soft_labels(sample, canvas, image_size, soft_size)
        if part is not None:
            soft_labels = np.zeros_like(part) if soft_labels is None else soft_labels
            rows, columns = covered_cells(region, size, soft_size)
            soft_labels[:, rows, columns] = part[:, rows, columns]
        min_size = (MIN_OBJECT_SIZE / quadrant[0], MIN_OBJECT_SIZE / quadrant[1])
        visible, indices = transform_boxes(window, sample.boxes, sample.crowd, min_size=min_size)
        pixels = visible * (quadrant[::-1] * 2) + (x1, y1, x1, y1)
        boxes.append((pixels / (size[::-1] * 2)).clip(0, 1).astype(np.float32))
        labels.append(sample.labels[indices])
        crowd.append(sample.crowd[indices])
    return TrainSample(
        id="+".join(sample.id for sample in samples),
        image=image,
        boxes=np.concatenate(boxes),
        labels=np.concatenate(labels),
        crowd=np.concatenate(crowd),
        class_map=class_map,
        annotated_box_classes=samples[0].annotated_box_classes,
        annotated_mask_classes=samples[0].annotated_mask_classes,
        soft_labels=soft_labels,
        soft_classes=next((sample.soft_labels.known_classes for sample in samples if sample.soft_labels), None),
    )


def annotation_key(sample: Sample) -> tuple[bytes, bytes]:
    """A value that is equal for samples with the same annotated classes."""
    return sample.annotated_box_classes.tobytes(), sample.annotated_mask_classes.tobytes()


def draw_quadrants(size: tuple[int, int], rng: np.random.Generator) -> tuple[Region, ...]:
    """The four parts of a canvas (h, w) around a random point near its middle."""
    height, width = size
    y, x = (round(rng.uniform(*CENTER) * length) for length in size)
    return (0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)


def covered_cells(region: Region, size: tuple[int, int], map_size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the cells of a map whose centers are in a region of the canvas."""
    x1, y1, x2, y2 = region

    def index(edge: int, length: int, count: int) -> int:
        return math.ceil(edge * count / length - 0.5)

    rows = slice(index(y1, size[0], map_size[0]), index(y2, size[0], map_size[0]))
    return rows, slice(index(x1, size[1], map_size[1]), index(x2, size[1], map_size[1]))
