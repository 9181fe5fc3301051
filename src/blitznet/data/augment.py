"""Augmentation: a sample becomes an example, by one draw for image, boxes and class map together.

Geometry is drawn from boxes and the image's size alone; then only what will be seen is decoded, and pixels
and classes are resampled once, straight to the size the network takes. Colours change after that, at that size.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image as Pillow

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, RGBArray
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.color_jitter import ColourRule, Step, apply_steps, draw_steps
from blitznet.data.crop import (
    Window,
    carry,
    coverage_crop,
    covered,
    jaccard_crop,
    look_up,
    whole,
    zoomed_out,
)
from blitznet.data.train_sample import TrainSample

LEAST_SIDE = 2
"""pixels of the network's image; what is narrower or lower is no object (reference 5, step 8)"""


@dataclass(frozen=True, slots=True)
class Policy:
    """What may happen to a image on its way into training, and how likely."""

    colour: ColourRule = "none"
    """ssd: each change in half of the images; blitznet: all four always"""
    zoom_out: float = 0.0
    """probability that the image is laid on a larger canvas"""
    max_zoom: float = 4.0
    """the largest canvas, in the image's sides"""
    min_zoom: float = 1.0
    """the smallest canvas"""
    crop: Literal["ssd", "blitznet", "none"] = "none"
    """ssd: by Jaccard overlap, the whole image in one case of seven; blitznet: by the share of an object seen"""
    smallest: float = 0.3
    """the least crop: of the sides for ssd, of the area for blitznet"""
    flip: float = 0.0
    """probability of mirroring"""
    padding: tuple[int, int, int] = (123, 116, 104)
    """RGB around a zoomed-out image: the mean colour of images"""


SSD = Policy(colour="ssd", zoom_out=0.5, crop="ssd", flip=0.5)
"""SSD's own (SSD 2.2 and 3.6), which the paper says it uses"""
BLITZNET = Policy(colour="blitznet", zoom_out=0.5, min_zoom=1.05, crop="blitznet", flip=0.5)
"""what the release does (reference 5)"""
LIGHT = Policy(colour="ssd", zoom_out=0.3, max_zoom=2.0, crop="ssd", smallest=0.5, flip=0.5)
"""milder, for short training of a small network"""
STRONG = Policy(colour="ssd", zoom_out=0.4, max_zoom=3.0, crop="ssd", smallest=0.3, flip=0.5)
"""between the two, for long training of a small network"""
PLAIN = Policy()
"""resize only"""


def augment(
    sample: Sample, rng: np.random.Generator, policy: Policy, *, size: tuple[int, int], map_size: tuple[int, int]
) -> TrainSample:
    """The sample as the network will be fed it: image at `size` (h, w), class map at `map_size` (mh, mw).

    Objects whose centre is outside or which are under 2 pixels are left out; difficult ones stay.
    Raises DataError for a image that cannot be read or a mask of another size than its image.
    """
    image_size = sample.image.size()
    window = draw_window(image_size, sample.boxes[~sample.crowd], rng, policy)
    steps = draw_steps(policy.colour, rng)
    boxes, kept = carry(window, sample.boxes, sample.crowd, least=(LEAST_SIDE / size[0], LEAST_SIDE / size[1]))
    return TrainSample(
        id=sample.id,
        image=_image(sample.image, window, image_size, size, steps, policy.padding),
        boxes=boxes,
        labels=sample.labels[kept],
        crowd=sample.crowd[kept],
        class_map=_class_map(sample, window, image_size, map_size),
        box_classes=sample.annotated_box_classes,
        mask_classes=sample.annotated_mask_classes,
    )


def draw_window(size: tuple[int, int], boxes: Boxes, rng: np.random.Generator, policy: Policy) -> Window:
    """What of a image of `size` (H, W) with these objects (M, 4), pixels, will be seen."""
    window = whole(size)
    if rng.random() < policy.zoom_out:
        window = zoomed_out(size, rng.uniform(policy.min_zoom, policy.max_zoom), rng)
    if policy.crop == "ssd":
        window = jaccard_crop(window, boxes, rng, smallest=policy.smallest)
    elif policy.crop == "blitznet":
        window = coverage_crop(window, boxes, rng, smallest=policy.smallest)
    return window.flip() if rng.random() < policy.flip else window


def _image(
    image_source: ImageSource,
    window: Window,
    image_size: tuple[int, int],
    size: tuple[int, int],
    steps: tuple[Step, ...],
    padding: tuple[int, int, int],
) -> RGBArray:
    """(h, w, 3): the visible part decoded at the size it will have, coloured, on a canvas of padding."""
    top, bottom, y1, y2 = covered(window.y1, window.y2, image_size[0], size[0])
    left, right, x1, x2 = covered(window.x1, window.x2, image_size[1], size[1])
    image = Pillow.new("RGB", size[::-1], padding)
    if bottom > top and right > left:
        part = image_source.resize_pil((bottom - top, right - left), box=(x1, y1, x2, y2))
        image.paste(apply_steps(part, steps), (left, top))
    return np.array(image.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT) if window.flipped else image)


def _class_map(sample: Sample, window: Window, image_size: tuple[int, int], map_size: tuple[int, int]) -> ClassMap:
    """(mh, mw): background around a zoomed-out image, as in the release; but all void where there is no mask.

    The release pads those with background too, and so learns that what was never painted is background
    (reference 8, defect 3).
    """
    class_map = sample.class_map()
    if class_map is None:
        return np.full(map_size, IGNORE_INDEX, np.uint8)
    if class_map.shape != image_size:
        raise DataError(
            f"{sample.id}: the mask is {class_map.shape[1]}x{class_map.shape[0]} pixels, "
            f"the image {image_size[1]}x{image_size[0]}; make them the same size"
        )
    return look_up(class_map, window, map_size, outside=0)
