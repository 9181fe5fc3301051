"""Copy-paste: objects with their masks, cut out of training images and pasted onto others (Ghiasi et al., 2021).

Only pixels that an annotator assigned to the object are pasted. The image behind stays correct: covered parts of boxes
are cut off, and objects of which little is left are ignored; class map and soft labels take the pasted class.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.arrays import Boxes, Flags
from blitznet.core.boxes import intersection
from blitznet.core.image import ImageSource
from blitznet.core.sample import ANY_CLASS, Sample
from blitznet.data.color_jitter import ColorStep, apply_color_steps
from blitznet.data.crop import CropWindow, Region, resample_class_map
from blitznet.data.masks import RasterizedMask
from blitznet.data.soft_labels import SCALE
from blitznet.data.train_sample import TrainSample

MIN_SIDE = 24
"""pixels of the source image; objects with a shorter side of their box are not pasted"""
MIN_FILLED = 0.1
"""fraction of an object's box that its pixels fill; below it the mask misses the object"""
MIN_VISIBLE = 0.3
"""fraction of a box that stays visible, below which its object is neither object nor background"""
SCALE_RANGE = (0.5, 1.25)
"""size of a pasted object, as multiples of its size in the source image"""
MAX_SIZE = 0.6
"""longest side of a pasted object, as a fraction of the canvas"""

_ROUNDING = 1e-3
"""pixels; rounding error of a box that ends at a pixel's edge"""
_OVERSAMPLING = 4
"""points along each side of a soft label's cell, to measure how much of it is covered"""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An object that was cut out of its image."""

    image: ImageSource
    pixels: Flags
    """(H, W) the object's pixels in its image"""
    box: Region
    """x1 y1 x2 y2 of these pixels"""
    label: int
    """0..K-1"""


def pasteable_objects(sample: Sample) -> Flags:
    """Which objects have known pixels of their own, by their boxes; no mask is read.

    An object has an outline of its own, or no other box of its class, ignored or not, touches its box. Then the pixels
    of the class inside the box belong to it.

    Args:
        sample: A sample, its masks annotated and not predicted.

    Returns:
        (M,) the objects to paste.
    """
    boxes, labels = sample.boxes, sample.labels
    if sample.mask is None or not len(labels):
        return np.zeros(len(labels), np.bool_)
    annotated = (labels >= 0) & sample.annotated_box_classes[labels] & sample.annotated_mask_classes[labels]
    large = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(1)
    candidates = annotated & large & ~sample.crowd & ~sample.difficult
    overlaps = intersection(boxes, boxes) > 0
    np.fill_diagonal(overlaps, False)
    confusable = (labels[:, None] == labels) | (labels[None] == ANY_CLASS)
    separate = ~(overlaps & confusable).any(1)
    if isinstance(sample.mask, RasterizedMask):
        numbers = [sample.mask.find_object(boxes[k], int(labels[k]) + 1) for k in range(len(labels))]
        separate |= np.asarray([number is not None for number in numbers])
    return np.asarray(candidates & separate, np.bool_)


def cut_out(sample: Sample, index: int) -> Instance | None:
    """Cut an object that `pasteable_objects` names out of its sample; None if its mask has too few pixels of it.

    Raises:
        DataError: The mask cannot be read.
    """
    class_map, label = sample.class_map(), int(sample.labels[index])
    assert class_map is not None, "pasteable objects have a mask"
    height, width = class_map.shape
    x1, y1, x2, y2 = np.rint(sample.boxes[index]).astype(int).clip(0, [width, height, width, height]).tolist()
    pixels = np.zeros(class_map.shape, np.bool_)
    number = None
    if isinstance(sample.mask, RasterizedMask):
        number = sample.mask.find_object(sample.boxes[index], label + 1)
    if number is not None and isinstance(sample.mask, RasterizedMask):
        pixels = sample.mask.visible_pixels(number) & (class_map == label + 1)
    else:
        pixels[y1:y2, x1:x2] = class_map[y1:y2, x1:x2] == label + 1
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if pixels.sum() < max(1, MIN_FILLED * (x2 - x1) * (y2 - y1)):
        return None
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Instance(sample.image, pixels, box, label)


def paste(
    target: TrainSample, instance: Instance, rng: np.random.Generator, steps: tuple[ColorStep, ...] = ()
) -> TrainSample:
    """Paste an object at a random position, in a random size, flipped in half of the cases.

    Where boxes of the object's class are not annotated in the target, the target is returned unchanged.

    Args:
        target: A training sample.
        instance: The object.
        rng: Source of all randomness.
        steps: Changes of the object's colors.

    Returns:
        The training sample with the object. Boxes are cut to what is visible of them. If less than MIN_VISIBLE of a box
        is visible, its object becomes a crowd region, or is dropped if nothing is visible.

    Raises:
        DataError: The object's image cannot be read.
    """
    if not target.annotated_box_classes[instance.label]:
        return target
    height, width = target.image.shape[:2]
    region, flipped = _draw_region(instance, (height, width), rng), bool(rng.random() < 0.5)
    left, top, right, bottom = region
    patch = instance.image.resize_pil((bottom - top, right - left), box=instance.box)
    patch = apply_color_steps(patch, steps)
    alpha = Image.fromarray(instance.pixels.view(np.uint8) * np.uint8(255)).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR, box=instance.box
    )
    if flipped:
        patch, alpha = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (patch, alpha))
    canvas = Image.fromarray(target.image)
    canvas.paste(patch, (left, top), alpha)
    covered = np.zeros((height, width), np.bool_)
    covered[top:bottom, left:right] = np.asarray(alpha) >= 128
    boxes, indices, crowd = _cut_boxes(target, covered)
    own_box = np.asarray([[left / width, top / height, right / width, bottom / height]], np.float32)
    x1, y1, x2, y2 = map(float, instance.box)
    window = CropWindow(x1, y1, x2, y2, flipped).embed(region, (height, width))
    return replace(
        target,
        image=np.array(canvas),
        boxes=np.concatenate([boxes, own_box]),
        labels=np.append(target.labels[indices], instance.label),
        crowd=np.append(crowd, False),
        class_map=np.where(
            resample_class_map(instance.pixels.view(np.uint8), window, _size(target.class_map), fill=0) > 0,
            np.uint8(instance.label + 1),
            target.class_map,
        ),
        soft_labels=_paste_soft_labels(target, instance, window),
    )


def _draw_region(instance: Instance, size: tuple[int, int], rng: np.random.Generator) -> Region:
    """A part of a canvas (h, w) for an object: its size in the source image times a random factor, anywhere."""
    x1, y1, x2, y2 = instance.box
    fraction = np.array([y2 - y1, x2 - x1]) / instance.pixels.shape  # of the image that the network would see
    scale = min(rng.uniform(*SCALE_RANGE), MAX_SIZE / float(fraction.max()))
    height, width = np.maximum(np.rint(fraction * scale * size), 1).astype(int).tolist()
    top, left = (int(rng.integers(0, limit - side + 1)) for limit, side in zip(size, (height, width), strict=True))
    return left, top, left + width, top + height


def _cut_boxes(target: TrainSample, covered: Flags) -> tuple[Boxes, NDArray[np.intp], Flags]:
    """What is visible of the boxes of a sample.

    Args:
        target: The sample.
        covered: (h, w) the pixels that a pasted object covers.

    Returns:
        Boxes (N, 4) cut where whole rows or columns are covered, their indices (N,), and whether each is a crowd.
    """
    size = np.array([*covered.shape[::-1]] * 2)
    boxes, crowd = target.boxes.copy(), target.crowd.copy()
    dropped = np.zeros(len(boxes), np.bool_)
    for index, box in enumerate(target.boxes * size):
        x1, y1 = np.floor(box[:2] + _ROUNDING).astype(int)
        x2, y2 = np.ceil(box[2:] - _ROUNDING).astype(int)
        visible = ~covered[y1:y2, x1:x2]
        if visible.all():
            continue
        dropped[index] = not visible.any()
        if visible.mean() < MIN_VISIBLE:
            crowd[index] = True
        elif not crowd[index]:
            boxes[index] = _visible_extent(box, visible, (int(x1), int(y1))) / size
    indices = np.flatnonzero(~dropped)
    return boxes[indices], indices, crowd[indices]


def _visible_extent(box: NDArray[np.float32], visible: Flags, origin: tuple[int, int]) -> NDArray[np.float32]:
    """A box (4,) in pixels without the rows and columns at its sides that are covered entirely."""
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    x, y = origin
    low = np.maximum(box[:2], [x + columns[0], y + rows[0]])
    high = np.minimum(box[2:], [x + columns[-1] + 1, y + rows[-1] + 1])
    return np.concatenate([low, high]).astype(np.float32)


def _paste_soft_labels(target: TrainSample, instance: Instance, window: CropWindow) -> NDArray[np.uint8] | None:
    """Soft labels (C, h, w) in which the covered fraction of a cell has the object's class.

    A cell without a label gets one only if the object covers all of it. If the teacher lacks the class, covered cells
    have no label.
    """
    soft_labels = target.soft_labels
    if soft_labels is None:
        return None
    size = _size(soft_labels[0])
    fine = resample_class_map(
        instance.pixels.view(np.uint8), window, (size[0] * _OVERSAMPLING, size[1] * _OVERSAMPLING), fill=0
    )
    fraction = fine.reshape(size[0], _OVERSAMPLING, size[1], _OVERSAMPLING).mean((1, 3))
    if target.soft_classes is not None and not target.soft_classes[instance.label]:
        return np.where(fraction == 0, soft_labels, np.uint8(0))
    fraction = np.where(soft_labels.any(0), fraction, fraction == 1)
    mixed = soft_labels * (1 - fraction)
    mixed[instance.label + 1] += SCALE * fraction
    return np.asarray(np.rint(mixed), np.uint8)


def _size(values: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = values.shape
    return height, width
