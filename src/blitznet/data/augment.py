"""Augmentation: turn a sample into a training sample by one random transform of image, boxes and class map.

The geometric transform is drawn from the boxes and the image size alone. Only then the visible part of the image is
decoded, and pixels and class map are resampled once, directly to the network's input size. Colors are changed last, at
that size.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, RGBArray
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.color_jitter import ColorRule, ColorStep, apply_color_steps, draw_color_steps
from blitznet.data.crop import (
    CropWindow,
    coverage_crop,
    full_window,
    iou_crop,
    resample_class_map,
    scale_jitter,
    transform_boxes,
    visible_span,
    zoom_out,
)
from blitznet.data.soft_labels import warp_soft_labels
from blitznet.data.train_sample import TrainSample

MIN_OBJECT_SIZE = 2
"""pixels of the network's input; narrower or shorter objects are dropped, as in the original implementation"""


@dataclass(frozen=True, slots=True)
class Policy:
    """Random transforms of a training image and their probabilities."""

    color: ColorRule = "none"
    """ssd: each color change with probability 0.5; torchvision: as ssd, with half the range of hues; blitznet: all
    four; none: no change"""
    zoom_out: float = 0.0
    """probability of placing the image on a larger canvas"""
    max_zoom: float = 4.0
    """side lengths of the largest canvas, as a multiple of the image's"""
    min_zoom: float = 1.0
    """side lengths of the smallest canvas, as a multiple of the image's"""
    scale_jitter: tuple[float, float] | None = None
    """smallest and largest side lengths of the image, as multiples of the canvas's; in place of zoom-out"""
    crop: Literal["ssd", "blitznet", "none"] = "none"
    """ssd: `iou_crop`; blitznet: `coverage_crop`"""
    min_crop: float = 0.3
    """smallest crop, as a fraction of the canvas: of its side lengths for ssd, of its area for blitznet"""
    flip: float = 0.0
    """probability of a horizontal flip"""
    fill: tuple[int, int, int] = (123, 116, 104)
    """RGB of the canvas around a zoomed-out image: the mean color of images"""


SSD = Policy(color="ssd", zoom_out=0.5, crop="ssd", flip=0.5)
"""augmentation of SSD (SSD, sections 2.2 and 3.6), as the BlitzNet paper states"""
BLITZNET = Policy(color="blitznet", zoom_out=0.5, min_zoom=1.05, crop="blitznet", flip=0.5)
"""augmentation of the original implementation (its utils_tf.py and config.py)"""
LIGHT = Policy(color="torchvision", zoom_out=0.3, max_zoom=2.0, crop="ssd", min_crop=0.5, flip=0.5)
"""mild augmentation, for short training of a small network"""
STRONG = Policy(color="torchvision", zoom_out=0.4, max_zoom=3.0, crop="ssd", min_crop=0.3, flip=0.5)
"""augmentation between LIGHT and SSD, for long training of a small network"""
LSJ = Policy(color="torchvision", scale_jitter=(0.1, 2.0), flip=0.5)
"""large-scale jitter (Ghiasi et al., Simple copy-paste, 2021), with torchvision's colors of SSD"""
PLAIN = Policy()
"""no augmentation: resize only"""

PolicyName = Literal["ssd", "blitznet", "light", "strong", "lsj", "plain"]
POLICIES: dict[PolicyName, Policy] = {
    "ssd": SSD,
    "blitznet": BLITZNET,
    "light": LIGHT,
    "strong": STRONG,
    "lsj": LSJ,
    "plain": PLAIN,
}
"""policies by their names in `--policy`"""


def augment(
    sample: Sample,
    rng: np.random.Generator,
    policy: Policy,
    *,
    size: tuple[int, int],
    map_size: tuple[int, int],
    soft_size: tuple[int, int] | None = None,
) -> TrainSample:
    """Transform a sample into a training sample.

    Objects whose center is outside the crop are dropped, and so are objects narrower or shorter than 2 pixels.
    Difficult objects are kept.

    Args:
        sample: Image and annotations; boxes in pixels of the upright image.
        rng: Source of all randomness.
        policy: Transforms and their probabilities.
        size: (h, w) of the image.
        map_size: (mh, mw) of the class map.
        soft_size: (h, w) of the soft labels; the same by default.

    Raises:
        DataError: The image cannot be read, or the size of the mask differs from that of its image.
    """
    image_size = sample.image.size()
    window = draw_window(image_size, sample.boxes[~sample.crowd], rng, policy)
    steps = draw_color_steps(policy.color, rng)
    min_size = (MIN_OBJECT_SIZE / size[0], MIN_OBJECT_SIZE / size[1])
    boxes, indices = transform_boxes(window, sample.boxes, sample.crowd, min_size=min_size)
    return TrainSample(
        id=sample.id,
        image=warp_image(sample.image, window, image_size, size, steps, policy.fill),
        boxes=boxes,
        labels=sample.labels[indices],
        crowd=sample.crowd[indices],
        class_map=warp_class_map(sample, window, image_size, map_size),
        annotated_box_classes=sample.annotated_box_classes,
        annotated_mask_classes=sample.annotated_mask_classes,
        soft_labels=warp_soft_labels(sample, window, image_size, soft_size or map_size),
        soft_classes=None if sample.soft_labels is None else sample.soft_labels.known_classes,
    )


def draw_window(size: tuple[int, int], boxes: Boxes, rng: np.random.Generator, policy: Policy) -> CropWindow:
    """Draw the crop window of an image of `size` (H, W) with objects `boxes` (M, 4) in pixels."""
    window = full_window(size)
    if policy.scale_jitter is not None:
        window = scale_jitter(size, rng.uniform(*policy.scale_jitter), rng)
    elif rng.random() < policy.zoom_out:
        window = zoom_out(size, rng.uniform(policy.min_zoom, policy.max_zoom), rng)
    if policy.crop == "ssd":
        window = iou_crop(window, boxes, rng, min_scale=policy.min_crop)
    elif policy.crop == "blitznet":
        window = coverage_crop(window, boxes, rng, min_area=policy.min_crop)
    return window.flip() if rng.random() < policy.flip else window


def warp_image(
    source: ImageSource,
    window: CropWindow,
    image_size: tuple[int, int],
    size: tuple[int, int],
    steps: tuple[ColorStep, ...],
    fill: tuple[int, int, int],
) -> RGBArray:
    """(h, w, 3): the visible part, decoded at its final size and color-jittered, on a canvas of `fill`."""
    top, bottom, y1, y2 = visible_span(window.y1, window.y2, image_size[0], size[0])
    left, right, x1, x2 = visible_span(window.x1, window.x2, image_size[1], size[1])
    canvas = Image.new("RGB", size[::-1], fill)
    if bottom > top and right > left:
        visible = source.resize_pil((bottom - top, right - left), box=(x1, y1, x2, y2))
        canvas.paste(apply_color_steps(visible, steps), (left, top))
    return np.array(canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if window.flipped else canvas)


def warp_class_map(
    sample: Sample, window: CropWindow, image_size: tuple[int, int], map_size: tuple[int, int]
) -> ClassMap:
    """Crop and resize the class map of a sample.

    The original implementation pads missing masks with background, and so trains unlabeled pixels as background.

    Args:
        sample: The sample.
        window: The crop window.
        image_size: (H, W) of the image.
        map_size: (mh, mw) of the result.

    Returns:
        (mh, mw): background around a zoomed-out image, as in the original implementation; all ignored without a mask.

    Raises:
        DataError: The size of the mask differs from that of the image.
    """
    class_map = sample.class_map()
    if class_map is None:
        return np.full(map_size, IGNORE_INDEX, np.uint8)
    if class_map.shape != image_size:
        raise DataError(
            f"{sample.id}: expected a mask of the image's {image_size[1]}x{image_size[0]} pixels, "
            f"got {class_map.shape[1]}x{class_map.shape[0]}; make them the same size"
        )
    return resample_class_map(class_map, window, map_size, fill=0)
