"""Tiled: a predictor that looks at a large image whole and in overlapping tiles, and joins what it saw.

A network of 300 pixels sees nothing of what is smaller than some of its pixels; in a tile it is larger. Boxes of all
looks go through one suppression, without those that a tile's inner edge cuts, which another look sees whole. The
class map is made of all looks' logits, each fading towards its tile's inner edges, so that no seam is to be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from blitznet.core.anchors import Grid
from blitznet.core.arrays import Boxes, Floats
from blitznet.core.errors import UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.decode import DetectionArrays
from blitznet.postprocess.nms import batched_nms
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result, Segmentation
from blitznet.runtime.engine import Engine
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import ImageInput, ModelInput, as_image_source

Rows = NDArray[np.intp]
OVERLAP = 0.25
"""of a tile's side with the next tile's"""
_CUT = 0.01
"""of a tile's side: a box that comes nearer to an inner edge is taken for cut"""
_LEAST = 1e-3
"""weight at a tile's inner edge, so that no pixel is without any"""


@dataclass(frozen=True, slots=True, eq=False)
class SlicedInput(ModelInput):
    """A image as the network is fed it, whole and in tiles."""

    tiles: tuple[ModelInput, ...] = ()
    boxes: Boxes = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    """(n, 4) where the tiles lie, x1 y1 x2 y2 pixels of the image"""


class SlicedPredictor(Predictor):
    """Sees what is in images by several looks each: one at the whole, one at each tile."""

    def __init__(self, engine: Engine, tiles: Grid, limits: PostprocessConfig | None = None) -> None:
        """Look at `tiles` (rows, columns) of each image. Raises UsageError for less than one, or one alone."""
        super().__init__(engine, limits)
        if min(tiles) < 1 or max(tiles) < 2:
            raise UsageError(f"tiles: expected rows and columns, 1 or more and not both 1, got {tiles[0]}x{tiles[1]}")
        self.tiles = tiles

    def preprocess(self, image: ImageInput) -> ModelInput:
        """One image and its tiles. Raises DataError if it cannot be read."""
        image_source = as_image_source(image)
        size = image_source.size()
        boxes = tile_grid(size, self.tiles)
        whole = as_image_source(image_source.read())  # decoded once, not once a tile
        tiles = tuple(
            ModelInput(whole.resize(self.spec.size, box=(x1, y1, x2, y2)), size) for x1, y1, x2, y2 in boxes.tolist()
        )
        return SlicedInput(image_source.resize(self.spec.size), size, image_source, tiles, boxes)

    def _infer(
        self, fed: Sequence[ModelInput], limits: PostprocessConfig, class_map: bool, *, engine: Engine | None = None
    ) -> list[Result]:
        return [self._join(one, limits, class_map, engine or self.engine) for one in fed]

    def _join(self, fed: ModelInput, limits: PostprocessConfig, class_map: bool, engine: Engine) -> Result:
        assert isinstance(fed, SlicedInput), "`feed` makes them"
        height, width = fed.original_size
        whole = np.array([[0, 0, width, height]], np.float32)
        boxes, found, maps = np.concatenate([whole, fed.boxes]), [], []
        for one, box in zip((fed, *fed.tiles), boxes, strict=True):
            given = engine.run(one.pixels[None])
            if not isinstance(given, Outputs):
                raise UsageError("this file finishes boxes itself, which tiles cannot join; export it without --nms")
            size = (float(box[3] - box[1]), float(box[2] - box[0]))
            seen = postprocess(
                given, 0, self.spec, size=(1, 1), input_size=one.pixels.shape[:2], config=limits, class_map=False
            )
            found.append(_placed((seen.boxes, seen.scores, seen.labels), box, size, fed.original_size))
            if class_map and given.segmentation_logits is not None:
                maps.append(given.segmentation_logits[0])
        joined = _suppressed(found, limits)
        logits = partial(blend, maps, boxes, fed.original_size) if maps else None
        return Result(
            *joined,
            class_names=self.spec.classes,
            size=fed.original_size,
            segmentation=None
            if logits is None
            else Segmentation.from_deferred_logits(logits, fed.original_size, self.spec.segmentation_temperature),
            image=fed.image,
        )


def tile_grid(size: Grid, tiles: Grid, overlap: float = OVERLAP) -> Boxes:
    """(n, 4) x1 y1 x2 y2: equal tiles, row after row, that cover a image of (H, W) and overlap by a share of a side."""
    height, width = size
    rows, columns = (_spans(side, count, overlap) for side, count in zip((height, width), tiles, strict=True))
    return np.array([(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns], np.float32)


def _spans(side: int, count: int, overlap: float) -> list[tuple[float, float]]:
    length = side / (count - (count - 1) * overlap)
    starts = np.linspace(0, side - length, count).tolist()
    return [(start, min(start + length, side)) for start in starts]


def _placed(found: DetectionArrays, box: Floats, size: tuple[float, float], image: Grid) -> DetectionArrays:
    """Boxes as fractions of a tile, brought to pixels of the image, without those that an inner edge cuts."""
    boxes, scores, labels = found
    inner = box > 0
    inner[2:] = box[2:] < np.array((image[1], image[0])) - 1e-3
    near = np.concatenate([boxes[:, :2] < _CUT, boxes[:, 2:] > 1 - _CUT], 1)
    whole = ~(near & inner).any(1)
    corner, spread = np.tile(box[:2], 2), np.tile(np.array(size[::-1], np.float32), 2)
    return boxes[whole] * spread + corner, scores[whole], labels[whole]


def _suppressed(found: Sequence[DetectionArrays], limits: PostprocessConfig) -> DetectionArrays:
    boxes, scores, labels = (np.concatenate([one[part] for one in found]) for part in range(3))
    order = np.lexsort((-scores, labels))
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    kept = np.flatnonzero(
        batched_nms(boxes, labels, iou_threshold=limits.nms_threshold, max_detections=limits.max_per_class)
    )
    best = kept[np.argsort(-scores[kept], kind="stable")[: limits.max_detections]]
    return boxes[best].astype(np.float32), scores[best], labels[best]


def blend(maps: Sequence[Floats], boxes: Boxes, size: Grid) -> Floats:
    """Logits (C, h, w) of a whole image (H, W), of several looks' maps (C, h', w') and where they lie.

    At the resolution of the finest look. Each look counts by its distance from its own inner edges.
    """
    finest = int(np.argmin((boxes[:, 2:] - boxes[:, :2]).prod(1)))
    _, fine_rows, fine_columns = maps[finest].shape
    box = boxes[finest]
    rows = max(1, round(size[0] * fine_rows / float(box[3] - box[1])))
    columns = max(1, round(size[1] * fine_columns / float(box[2] - box[0])))
    y, x = (np.arange(rows) + 0.5) * (size[0] / rows), (np.arange(columns) + 0.5) * (size[1] / columns)
    total, weights = np.zeros((len(maps[0]), rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for logits, (x1, y1, x2, y2) in zip(maps, boxes.tolist(), strict=True):
        down, across = _inside(y, y1, y2), _inside(x, x1, x2)
        weight = np.outer(_fading(y[down], y1, y2, size[0]), _fading(x[across], x1, x2, size[1]))
        seen = _sampled(logits, (y[down] - y1) / (y2 - y1), (x[across] - x1) / (x2 - x1))
        total[:, down, across] += seen * weight
        weights[down, across] += weight
    return np.asarray(total / weights, np.float32)


def _inside(place: Floats, low: float, high: float) -> slice:
    return slice(int(np.searchsorted(place, low)), int(np.searchsorted(place, high)))


def _fading(place: Floats, low: float, high: float, side: int) -> Floats:
    """Weights along one side of a tile: 1 inside, falling over the overlap towards edges that are not the image's."""
    fade = (high - low) * OVERLAP
    weight = np.ones(len(place), np.float32)
    if low > 0:
        weight = np.minimum(weight, (place - low) / fade)
    if high < side - 1e-3:
        weight = np.minimum(weight, (high - place) / fade)
    return np.maximum(weight, _LEAST).astype(np.float32)


def _sampled(logits: Floats, y: Floats, x: Floats) -> Floats:
    """(C, n, m) logits (C, h, w) bilinearly at fractions y (n,) and x (m,) of its sides, half-pixel centres."""
    low, high, share = _between(y, logits.shape[1])
    rows = logits[:, low] + (logits[:, high] - logits[:, low]) * share[:, None]
    low, high, share = _between(x, logits.shape[2])
    return np.asarray(rows[:, :, low] + (rows[:, :, high] - rows[:, :, low]) * share, np.float32)


def _between(fraction: Floats, count: int) -> tuple[Rows, Rows, Floats]:
    place = (fraction * count - 0.5).clip(0, count - 1)
    low = place.astype(np.intp)
    return low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32)
