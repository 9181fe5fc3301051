"""Instance masks and panoptic segmentation from boxes and segmentation logits, without another network.

A box gives the class and the extent of one object; the segmentation gives the class of each pixel, but no objects.
Inside a box, the mask contains the pixels whose logit for the box's class is higher than background and not far below
other classes. The threshold is lowered where the mask then reaches clearly more of its box. Where objects of one class
overlap, a pixel belongs to the object whose center is nearer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blitznet.core.arrays import IGNORE_INDEX, Boxes, ClassMap, Floats, Labels, Scores
from blitznet.postprocess.bilinear import SourceIndices, source_indices

Mask: TypeAlias = NDArray[np.bool_]
"""(H, W), or (h, w) of a crop"""
Crop: TypeAlias = tuple[slice, slice]
"""rows and columns of the image"""
Margins: TypeAlias = Callable[[int], Floats]
"""label (0..K-1) -> margin (h, w): how much the label's logit exceeds those of background and other classes"""


@dataclass(frozen=True, slots=True)
class InstanceConfig:
    """Parameters of instance masks and panoptic segmentation."""

    class_margin: float = 2.0
    """logits by which another class may be higher inside a box"""
    box_prior_logit: float = 1.0
    """logit that a box adds to its class at its center; 0 on the inscribed ellipse, negative outside of it"""
    grow_logits: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0)
    """logits by which the threshold may be lowered; the mask that fills most of its box, less the cost, is used"""
    grow_cost: float = 0.1
    """fraction of the box's extent that each logit of lowering has to gain"""
    min_gain: float = 0.02
    """fraction of the box's extent below which a gain is ignored"""
    min_mask_area: float = 0.25
    """fraction of the box's area below which a mask is replaced by the inscribed ellipse"""
    min_score_ratio: float = 0.5
    """fraction of an object's score that another object of its class needs to take pixels from it"""
    min_segment_area: float = 0.005
    """fraction of the image that a class without a box needs to become a panoptic segment"""
    class_map_logit: float = 8.0
    """logit margin assumed where only a class map is known"""


DEFAULT_CONFIG = InstanceConfig()


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The pixels of each detection of an image: `mask(index)`, `instances[index]`, or iteration over all masks.

    Masks of one class do not overlap, except with boxes of a much lower score.
    """

    boxes: Boxes
    """(N, 4) x1 y1 x2 y2, pixels"""
    scores: Scores
    """(N,)"""
    labels: Labels
    """(N,) 0..K-1"""
    size: tuple[int, int]
    """(H, W) of the image"""
    crops: tuple[Crop, ...]
    """N crops of the image: the boxes in whole pixels"""
    crop_masks: tuple[Mask, ...]
    """N masks (h, w), each of the size of its crop"""

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Instances({len(self)} mask{'s' * (len(self) != 1)}; {self.size[1]}x{self.size[0]})"

    def __iter__(self) -> Iterator[Mask]:
        return (self.mask(index) for index in range(len(self)))

    def __getitem__(self, index: int) -> Mask:
        return self.mask(index)

    def mask(self, index: int) -> Mask:
        """The mask (H, W) of one detection."""
        mask = np.zeros(self.size, np.bool_)
        mask[self.crops[index]] = self.crop_masks[index]
        return mask


class SegmentInfo(NamedTuple):
    """One segment of a panoptic segmentation."""

    id: int
    """value of the segment's pixels in the segmentation, from 1"""
    label: int
    """class id, 0..K-1"""
    score: float | None
    """score of its box; None for a region of the class map without a box"""
    area: int
    """number of pixels, at least 1"""

    @property
    def isthing(self) -> bool:
        """Whether the segment is one detected object (COCO's term for countable classes)."""
        return self.score is not None


@dataclass(frozen=True, slots=True, eq=False)
class Panoptic:
    """Panoptic segmentation: at most one segment for every pixel."""

    segmentation: NDArray[np.uint16]
    """(H, W): 0 background, or the id of a segment"""
    segments_info: tuple[SegmentInfo, ...]

    def __repr__(self) -> str:
        height, width = self.segmentation.shape
        count = len(self.segments_info)
        return f"Panoptic({count} segment{'s' * (count != 1)}; {width}x{height})"

    def to_dict(self) -> dict[str, Any]:
        """The segments as plain values, with COCO's keys; `category_id` is the label."""
        return {
            "segments_info": [
                {
                    "id": segment.id,
                    "category_id": segment.label,
                    "score": segment.score,
                    "area": segment.area,
                    "isthing": segment.isthing,
                }
                for segment in self.segments_info
            ]
        }


def extract_instances(
    boxes: Boxes,
    scores: Scores,
    labels: Labels,
    margins: Margins,
    size: tuple[int, int],
    config: InstanceConfig = DEFAULT_CONFIG,
) -> Instances:
    """Compute the mask of each detection.

    Args:
        boxes: (N, 4) x1 y1 x2 y2, pixels.
        scores: (N,).
        labels: (N,) 0..K-1.
        margins: From `margins_from_logits` or `margins_from_class_map`.
        size: (H, W) of the image.
        config: Parameters of the heuristic.
    """
    crops = tuple(_crop(box, size) for box in boxes)
    label_margins = {label: margins(label) for label in {int(label) for label in labels}}
    masks = [
        _crop_mask(_upsample_margin(label_margins[int(label)], box, crop, size, config), box, crop, config)
        for label, box, crop in zip(labels, boxes, crops, strict=True)
    ]
    return _resolve_overlaps(Instances(boxes, scores, labels, size, crops, tuple(masks)), config)


def margins_from_logits(logits: Floats, config: InstanceConfig = DEFAULT_CONFIG) -> Margins:
    """Margins of segmentation logits (C, h, w), background first."""
    background, classes = logits[0], logits[1:]

    def margin(label: int) -> Floats:
        highest = background
        for others in (classes[:label], classes[label + 1 :]):
            if len(others):
                highest = np.maximum(highest, others.max(0) - np.float32(config.class_margin))
        return np.asarray(classes[label] - highest, np.float32)

    return margin


def margins_from_class_map(class_map: ClassMap, config: InstanceConfig = DEFAULT_CONFIG) -> Margins:
    """Margins of a class map (H, W), for results without logits."""
    logit = np.float32(config.class_map_logit)
    return lambda label: np.where(class_map == label + 1, logit, -logit)


def merge_panoptic(instances: Instances, class_map: ClassMap, config: InstanceConfig = DEFAULT_CONFIG) -> Panoptic:
    """Merge instances and class map into one segment for every pixel.

    A pixel in several masks goes to the detection with the highest score among those of the class map's class there,
    or among all if there are none. A class without a box becomes one segment of its remaining pixels, unless it is
    tiny. Pixels of a class that has boxes become background outside of all masks.

    Args:
        instances: Masks of the detections.
        class_map: (H, W) 0 background, label + 1.
        config: Parameters of the heuristic.
    """
    order = np.argsort(-instances.scores, kind="stable")
    segmentation = _assign_pixels(instances, order, class_map)
    counts = _count_pixels(segmentation, class_map, len(order))  # (N + 1, 256)
    areas = counts[1:].sum(1)
    segments = [
        SegmentInfo(segment_id, int(instances.labels[index]), float(instances.scores[index]), int(area))
        for segment_id, (index, area) in enumerate(zip(order, areas, strict=True), start=1)
        if area
    ]
    unassigned, segment_id = segmentation == 0, len(order)
    min_area = max(1, config.min_segment_area * segmentation.size)
    large = np.flatnonzero(counts[0, 1:IGNORE_INDEX] >= min_area)
    for label in np.setdiff1d(large, instances.labels):
        segment_id += 1
        np.copyto(segmentation, np.uint16(segment_id), where=unassigned & (class_map == label + 1))
        segments.append(SegmentInfo(segment_id, int(label), None, int(counts[0, label + 1])))
    return Panoptic(segmentation, tuple(segments))


def _assign_pixels(instances: Instances, order: Labels, class_map: ClassMap) -> NDArray[np.uint16]:
    """Rank from 1 in `order` of the detection that each pixel (H, W) belongs to; 0 for none."""
    segmentation = np.zeros(instances.size, np.uint16)
    ranked = [
        (rank, instances.crops[index], instances.crop_masks[index], instances.labels[index])
        for rank, index in enumerate(order, start=1)
    ]
    for rank, crop, mask, _ in reversed(ranked):  # the highest score last, over the others
        np.copyto(segmentation[crop], np.uint16(rank), where=mask)
    for rank, crop, mask, label in reversed(ranked):
        np.copyto(segmentation[crop], np.uint16(rank), where=mask & (class_map[crop] == label + 1))
    return segmentation


def _count_pixels(segmentation: NDArray[np.uint16], class_map: ClassMap, max_id: int) -> Labels:
    """Number of pixels (max_id + 1, 256) with each segment id and class map value."""
    fits_uint16 = max_id < 256  # true for nearly all images, and three times as fast
    keys = (segmentation if fits_uint16 else segmentation.astype(np.int64)) << 8 | class_map
    return np.bincount(keys.ravel(), minlength=(max_id + 1) << 8).reshape(max_id + 1, 256)


def _crop(box: Floats, size: tuple[int, int]) -> Crop:
    """A box in whole pixels, at least one."""
    x1, y1, x2, y2 = (round(float(coordinate)) for coordinate in box)
    top, left = min(max(y1, 0), size[0] - 1), min(max(x1, 0), size[1] - 1)
    return slice(top, min(max(y2, top + 1), size[0])), slice(left, min(max(x2, left + 1), size[1]))


def _squared_distances(box: Floats, crop: Crop) -> tuple[Floats, Floats]:
    """Squared distance of a crop's rows (h,) and columns (w,) from the center of a box, in half box sizes.

    Their sum is 1 on the inscribed ellipse.
    """
    y, x = (np.arange(axis.start, axis.stop, dtype=np.float32) + np.float32(0.5) for axis in crop)
    x1, y1, x2, y2 = box
    horizontal = (x - (x1 + x2) / 2) / max((x2 - x1) / 2, np.float32(0.5))
    vertical = (y - (y1 + y2) / 2) / max((y2 - y1) / 2, np.float32(0.5))
    return np.asarray(vertical**2, np.float32), np.asarray(horizontal**2, np.float32)


def _upsample_margin(margin: Floats, box: Floats, crop: Crop, size: tuple[int, int], config: InstanceConfig) -> Floats:
    """A margin (h, w) upsampled bilinearly to `size`, inside a crop only, plus the box prior.

    Upsampling and prior are separable, so both are one matrix product.
    """
    (rows, row_weights), (columns, column_weights) = (
        _interpolation_matrix(source, output, axis)
        for source, output, axis in zip(margin.shape, size, crop, strict=True)
    )
    vertical, horizontal = _squared_distances(box, crop)
    ones = np.ones((len(vertical), 1), np.float32)
    left = np.concatenate([row_weights, ones, vertical[:, None]], 1)
    prior = np.float32(config.box_prior_logit)
    right = np.concatenate(
        [
            margin[rows, columns] @ column_weights.T,
            prior * (1 - horizontal)[None],
            np.full_like(horizontal, -prior)[None],
        ]
    )
    upsampled: Floats = left @ right
    return upsampled


def _interpolation_matrix(source_size: int, output_size: int, axis: slice) -> tuple[slice, Floats]:
    """The source pixels behind a slice of the output pixels, and the weights (output, source)."""
    low, high, weight = (values[axis] for values in _cached_source_indices(source_size, output_size))
    first, last = int(low[0]), int(high[-1])
    matrix, pixels = np.zeros((len(low), last + 1 - first), np.float32), np.arange(len(low))
    matrix[pixels, low - first] = 1 - weight
    matrix[pixels, high - first] += weight
    return slice(first, last + 1), matrix


@lru_cache(maxsize=16)
def _cached_source_indices(source_size: int, output_size: int) -> SourceIndices:
    """`source_indices`, cached because all boxes of an image need the same."""
    return source_indices(source_size, output_size)


def _crop_mask(margin: Floats, box: Floats, crop: Crop, config: InstanceConfig) -> Mask:
    """The mask (h, w) of one box, grown to fill it; the inscribed ellipse if it is below `min_mask_area`."""
    best_fill, best_logit = -np.inf, config.grow_logits[0]
    row_maxima, column_maxima = margin.max(1), margin.max(0)
    for logit in config.grow_logits:
        fill = _extent(row_maxima > -logit) * _extent(column_maxima > -logit) - config.grow_cost * logit
        if fill > best_fill + config.min_gain:
            best_fill, best_logit = fill, logit
    mask = margin > -best_logit
    if np.count_nonzero(mask) >= config.min_mask_area * mask.size:
        return mask
    vertical, horizontal = _squared_distances(box, crop)
    return vertical[:, None] + horizontal < 1


def _extent(occupied: Mask) -> float:
    """Fraction of an axis (n,) from the first to the last occupied pixel."""
    first, stop = int(occupied.argmax()), len(occupied) - int(occupied[::-1].argmax())
    return (stop - first) / len(occupied) if occupied[first] else 0.0


def _resolve_overlaps(instances: Instances, config: InstanceConfig) -> Instances:
    """Give pixels that two masks of one class share to the one whose center is nearer."""
    scores, masks = instances.scores, [mask.copy() for mask in instances.crop_masks]
    for a, b in combinations(range(len(masks)), 2):
        shared = _intersection(instances.crops[a], instances.crops[b])
        if instances.labels[a] != instances.labels[b] or shared is None:
            continue
        inside_a, inside_b = (_relative(shared, instances.crops[index]) for index in (a, b))
        (vertical_a, horizontal_a), (vertical_b, horizontal_b) = (
            _squared_distances(instances.boxes[index], shared) for index in (a, b)
        )
        nearer_to_b = (vertical_b - vertical_a)[:, None] < horizontal_a - horizontal_b  # equal distances go to a
        if scores[b] >= config.min_score_ratio * scores[a]:
            masks[a][inside_a] &= ~(instances.crop_masks[b][inside_b] & nearer_to_b)
        if scores[a] >= config.min_score_ratio * scores[b]:
            masks[b][inside_b] &= ~(instances.crop_masks[a][inside_a] & ~nearer_to_b)
    return replace(instances, crop_masks=tuple(masks))


def _intersection(a: Crop, b: Crop) -> Crop | None:
    rows, columns = (slice(max(x.start, y.start), min(x.stop, y.stop)) for x, y in zip(a, b, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _relative(crop: Crop, to: Crop) -> Crop:
    """A crop in coordinates of another that contains it."""
    rows, columns = (slice(x.start - y.start, x.stop - y.start) for x, y in zip(crop, to, strict=True))
    return rows, columns
