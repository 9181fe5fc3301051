"""SlicedPredictor: sliced inference, for small objects in large images.

The network runs on the whole image and on a grid of overlapping tiles. Boxes of all of them go through one NMS,
except those that an inner edge of a tile cuts. Segmentation logits are averaged with weights that fall towards the
inner edges of a tile, which leaves no seams. Compare SAHI (Akyon et al., 2022) and supervision's InferenceSlicer.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from blitznet.core.arrays import Boxes, Floats, Size
from blitznet.core.errors import UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.bilinear import Positions, indices_at
from blitznet.postprocess.nms import DetectionArrays, nms_top_k
from blitznet.postprocess.postprocess import postprocess
from blitznet.postprocess.result import Result, Segmentation
from blitznet.runtime.engine import Engine
from blitznet.runtime.predictor import BasePredictor, Predictor
from blitznet.runtime.preprocess import ImageInput, ImageTile, ModelInput, as_image_source

OVERLAP = 0.25
"""overlap of neighboring tiles, as a fraction of a tile"""
_CUT_MARGIN = 0.01
"""distance to an inner edge, as a fraction of the tile, below which a box counts as cut"""
_MIN_WEIGHT = 1e-3
"""weight of a tile's logits at its inner edges; above 0, so weights never sum to 0"""
_EDGE_TOLERANCE = 1e-3
"""distance in pixels below which an edge of a tile is one of the image, not an inner edge"""


class SlicedPredictor(BasePredictor):
    """Predicts images with one run of the network for the whole image and one for each tile."""

    def __init__(self, predictor: Predictor, slices: Size) -> None:
        """Slice the images of a predictor.

        Args:
            predictor: Predicts the whole image; its engine also runs on the tiles.
            slices: (rows, columns) of tiles.

        Raises:
            UsageError: slices has a number below 1, or is a single tile.
        """
        super().__init__(predictor.engine, predictor.config, min_score=predictor.min_score)
        if not (
            isinstance(slices, list | tuple) and len(slices) == 2 and all(isinstance(number, int) for number in slices)
        ):
            raise UsageError(f"slices: expected (rows, columns) such as (2, 3), got {slices!r}")
        rows, columns = slices
        if min(slices) < 1 or max(slices) < 2:
            raise UsageError(f"slices: expected rows and columns, 1 or more and not both 1, got {rows}x{columns}")
        self.predictor = predictor
        self.slices = (rows, columns)

    def preprocess(self, image: ImageInput) -> ModelInput:
        """The image and its tiles at the network's input size. Raises DataError if it cannot be read."""
        image_source = as_image_source(image)
        boxes = tile_grid(image_source.size(), self.slices).tolist()
        decoded = as_image_source(image_source.read())  # once, not for each tile
        tiles = tuple(
            ImageTile(decoded.resize(self.spec.size, box=(x1, y1, x2, y2)), (x1, y1, x2, y2))
            for x1, y1, x2, y2 in boxes
        )
        return replace(self.predictor.preprocess(image_source), tiles=tiles)

    def infer(
        self,
        inputs: Sequence[ModelInput],
        *,
        min_score: float | None = None,
        class_map: bool = True,
        engine: Engine | None = None,
    ) -> list[Result]:
        """Predict preprocessed images one by one; arguments as for `BasePredictor.infer`.

        Raises:
            UsageError: The model has NMS inside; its boxes cannot be merged.
        """
        config = self.config_for(min_score)
        return [self._infer_tiles(item, config, class_map, engine or self.engine) for item in inputs]

    def _infer_tiles(
        self, model_input: ModelInput, config: PostprocessConfig, class_map: bool, engine: Engine
    ) -> Result:
        height, width = size = model_input.original_size
        whole = ImageTile(model_input.pixels, (0.0, 0.0, float(width), float(height)))
        tiles = (whole, *model_input.tiles)
        boxes = np.array([tile.box for tile in tiles], np.float32)
        detections: list[DetectionArrays] = []
        maps: list[Floats] = []
        for tile, box in zip(tiles, boxes, strict=True):
            outputs = engine.run(tile.pixels[None])
            if not isinstance(outputs, Outputs):
                raise UsageError(
                    "slices: expected a model with raw outputs, got one with NMS inside; export it without --nms"
                )
            input_size = tile.pixels.shape[:2]
            result = postprocess(
                outputs, 0, self.spec, size=(1, 1), input_size=input_size, config=config, class_map=False
            )
            detections.append(_to_image((result.boxes, result.scores, result.labels), box, size))
            if class_map and outputs.segmentation_logits is not None:
                maps.append(outputs.segmentation_logits[0])
        merged_boxes, scores, labels = _merge(detections, config)
        segmentation = (
            Segmentation.from_deferred_logits(
                partial(blend_logits, maps, boxes, size), size, self.spec.segmentation_temperature
            )
            if maps
            else None
        )
        return Result(
            merged_boxes, scores, labels, self.spec.classes, size, segmentation=segmentation, image=model_input.image
        )


def tile_grid(size: Size, slices: Size, overlap: float = OVERLAP) -> Boxes:
    """Equal tiles that cover an image.

    Args:
        size: (H, W) of the image, pixels.
        slices: (rows, columns) of tiles.
        overlap: Overlap of neighboring tiles, as a fraction of a tile.

    Returns:
        (rows * columns, 4) x1 y1 x2 y2, row by row.
    """
    rows, columns = (_spans(length, count, overlap) for length, count in zip(size, slices, strict=True))
    return np.array([(x1, y1, x2, y2) for y1, y2 in rows for x1, x2 in columns], np.float32)


def _spans(length: int, count: int, overlap: float) -> list[tuple[float, float]]:
    """Start and stop of the tiles along one axis."""
    tile = length / (count - (count - 1) * overlap)
    starts = np.linspace(0, length - tile, count).tolist()
    return [(start, min(start + tile, length)) for start in starts]


def _to_image(detections: DetectionArrays, tile: Floats, size: Size) -> DetectionArrays:
    """Scale boxes from fractions of a tile (x1 y1 x2 y2) to pixels of the image; drop those that an inner edge cuts."""
    boxes, scores, labels = detections
    inner = tile > 0
    inner[2:] = tile[2:] < np.array((size[1], size[0])) - _EDGE_TOLERANCE
    near = np.concatenate([boxes[:, :2] < _CUT_MARGIN, boxes[:, 2:] > 1 - _CUT_MARGIN], 1)
    uncut = ~(near & inner).any(1)
    width, height = float(tile[2] - tile[0]), float(tile[3] - tile[1])
    origin, scale = np.tile(tile[:2], 2), np.array((width, height) * 2, np.float32)
    return boxes[uncut] * scale + origin, scores[uncut], labels[uncut]


def _merge(detections: Sequence[DetectionArrays], config: PostprocessConfig) -> DetectionArrays:
    """One NMS over the detections of all tiles."""
    boxes, scores, labels = (np.concatenate(arrays) for arrays in zip(*detections, strict=True))
    order = np.lexsort((-scores, labels))
    return nms_top_k(boxes[order], scores[order], labels[order], config)


def blend_logits(maps: Sequence[Floats], boxes: Boxes, size: Size) -> Floats:
    """Blend the segmentation logits of overlapping tiles into one map, at the resolution of the smallest tile.

    Args:
        maps: Logits (C, h', w') of each tile, background first.
        boxes: (n, 4) x1 y1 x2 y2 of the tiles, in pixels of the image.
        size: (H, W) of the image.

    Returns:
        (C, h, w) logits, averaged with weights that fall towards a tile's inner edges.
    """
    finest = int(np.argmin((boxes[:, 2:] - boxes[:, :2]).prod(1)))
    _, fine_rows, fine_columns = maps[finest].shape
    box = boxes[finest]
    rows = max(1, round(size[0] * fine_rows / float(box[3] - box[1])))
    columns = max(1, round(size[1] * fine_columns / float(box[2] - box[0])))
    y, x = (np.arange(rows) + 0.5) * (size[0] / rows), (np.arange(columns) + 0.5) * (size[1] / columns)
    total, weights = np.zeros((len(maps[0]), rows, columns), np.float32), np.zeros((rows, columns), np.float32)
    for logits, (x1, y1, x2, y2) in zip(maps, boxes.tolist(), strict=True):
        inside_y, inside_x = _inside(y, y1, y2), _inside(x, x1, x2)
        weight = np.outer(_feather(y[inside_y], y1, y2, size[0]), _feather(x[inside_x], x1, x2, size[1]))
        resized = _resize(logits, (y[inside_y] - y1) / (y2 - y1), (x[inside_x] - x1) / (x2 - x1))
        total[:, inside_y, inside_x] += resized * weight
        weights[inside_y, inside_x] += weight
    return np.asarray(total / weights, np.float32)


def _inside(position: Positions, start: float, stop: float) -> slice:
    return slice(int(np.searchsorted(position, start)), int(np.searchsorted(position, stop)))


def _feather(position: Positions, start: float, stop: float, length: int) -> Floats:
    """Weights (n,) along one axis of a tile: 1 inside, falling over the overlap towards edges inside the image."""
    fade = (stop - start) * OVERLAP
    weight = np.ones(len(position), np.float32)
    if start > 0:
        weight = np.minimum(weight, (position - start) / fade)
    if stop < length - _EDGE_TOLERANCE:
        weight = np.minimum(weight, (stop - position) / fade)
    return np.maximum(weight, _MIN_WEIGHT).astype(np.float32)


def _resize(logits: Floats, y: Positions, x: Positions) -> Floats:
    """Bilinear values (C, n, m) of logits (C, h, w) at fractions y (n,) and x (m,) of the tile."""
    rows = indices_at(y * logits.shape[1] - 0.5, logits.shape[1])
    columns = indices_at(x * logits.shape[2] - 0.5, logits.shape[2])
    above, below = logits[:, rows.low], logits[:, rows.high]
    resized = above + (below - above) * rows.weight[:, None]
    left, right = resized[:, :, columns.low], resized[:, :, columns.high]
    return np.asarray(left + (right - left) * columns.weight, np.float32)
