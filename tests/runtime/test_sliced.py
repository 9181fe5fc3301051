from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.arrays import RGBArray
from blitznet.core.boxes import encode
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.sliced import SlicedPredictor, blend_logits, tile_grid
from support.fake_engines import ANCHORS, MAP, SPEC, FakeEngine, random_outputs

INPUT_SIZE = SPEC.size


class BrightnessEngine(FakeEngine):
    """Segmentation logits follow the brightness, and one box of class 0 surrounds the bright pixels."""

    def __init__(self) -> None:
        super().__init__(random_outputs())

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        self.batches.append(images)
        rows, columns = INPUT_SIZE[0] // MAP[0], INPUT_SIZE[1] // MAP[1]
        grey = images[0, ..., 0].reshape(MAP[0], rows, MAP[1], columns).mean((1, 3)).astype(np.float32)
        segmentation_logits = np.zeros((1, SPEC.num_channels, *MAP), np.float32)
        segmentation_logits[0, 1] = grey - 100
        logits, offsets = np.full((1, len(ANCHORS), SPEC.num_channels), -9, np.float32), np.zeros((1, len(ANCHORS), 4))
        logits[..., 0] = 9
        bright = images[0, ..., 0] > 120
        if bright.any():
            y, x = (np.flatnonzero(bright.any(axis)) for axis in (1, 0))
            box = np.array(
                [x[0] / INPUT_SIZE[1], y[0] / INPUT_SIZE[0], (x[-1] + 1) / INPUT_SIZE[1], (y[-1] + 1) / INPUT_SIZE[0]]
            )
            encoded = encode(box[None].astype(np.float32), ANCHORS[:1], SPEC.anchors.variances)
            offsets[0, 0] = encoded[0]
            logits[0, 0, :2] = 0, 5
        return Outputs(offsets.astype(np.float32), logits, segmentation_logits)


def bright_boxes(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> RGBArray:
    image = np.full((*size, 3), 40, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize(("slices", "size"), [((2, 2), (100, 140)), ((1, 3), (64, 300)), ((4, 2), (333, 77))])
def test_tile_grid_covers_the_image_with_overlap(slices: tuple[int, int], size: tuple[int, int]) -> None:
    boxes = tile_grid(size, slices)
    assert len(boxes) == slices[0] * slices[1]
    covered = np.zeros(size, int)
    for x1, y1, x2, y2 in boxes.round().astype(int):
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == 1
    assert (boxes.min(), boxes[:, 2].max(), boxes[:, 3].max()) == (0, size[1], size[0])
    grid = boxes.reshape(*slices, 4)
    for first, second in zip(grid[0, :-1], grid[0, 1:], strict=True):
        assert (first[2] - second[0]) / (first[2] - first[0]) == pytest.approx(0.25, abs=1e-4)


def test_blend_logits_has_no_seams() -> None:
    """Tiles of one linear function blend to that function, wherever their edges are."""
    size = (120, 200)
    boxes = np.concatenate([[[0, 0, size[1], size[0]]], tile_grid(size, (3, 2))]).astype(np.float32)
    maps = []
    for x1, y1, x2, y2 in boxes:
        y = y1 + (np.arange(MAP[0]) + 0.5) * (y2 - y1) / MAP[0]
        x = x1 + (np.arange(MAP[1]) + 0.5) * (x2 - x1) / MAP[1]
        maps.append(np.stack([y[:, None] + 2 * x, y[:, None] - x]).astype(np.float32))
    blended = blend_logits(maps, boxes, size)
    rows, columns = blended.shape[1:]
    assert rows >= 2 * MAP[0]
    y, x = (np.arange(rows) + 0.5) * size[0] / rows, (np.arange(columns) + 0.5) * size[1] / columns
    expected = np.stack([y[:, None] + 2 * x, y[:, None] - x])
    inside = np.s_[:, 4:-4, 4:-4]  # at the image's edge the nearest pixel is repeated
    assert np.abs(blended - expected)[inside].max() < 0.02 * np.ptp(expected)
    steps = np.abs(np.diff(blended, axis=2)).max((1, 2))
    assert (steps < 3 * np.median(np.abs(np.diff(expected, axis=2)), (1, 2)) + 1e-3).all()


@pytest.mark.parametrize(("slices", "factors"), [((1, 3), (1, 2.4)), ((3, 1), (2.4, 1))])
def test_blend_logits_has_the_resolution_of_the_tiles(slices: tuple[int, int], factors: tuple[float, float]) -> None:
    size = (120, 200)
    boxes = np.concatenate([[[0, 0, size[1], size[0]]], tile_grid(size, slices)]).astype(np.float32)
    rows, columns = blend_logits([np.zeros((2, *MAP), np.float32)] * 4, boxes, size).shape[1:]
    assert rows >= factors[0] * MAP[0]
    assert columns >= factors[1] * MAP[1]


def test_each_object_is_detected_once_in_image_pixels() -> None:
    """A box in one tile, one across two, one in the overlap, and others."""
    size = (4 * INPUT_SIZE[0], 4 * INPUT_SIZE[1])
    for box in ((12, 12, 32, 40), (60, 60, 132, 140), (92, 100, 116, 140), (152, 200, 188, 248)):
        result = SlicedPredictor(Predictor(BrightnessEngine()), (2, 2))(bright_boxes(size, box), min_score=0.5)
        assert len(result.boxes) == 1
        np.testing.assert_allclose(result.boxes[0], box, atol=5)
        assert result.class_map is not None
        pixels = np.argwhere(result.class_map == 1)
        np.testing.assert_allclose([*pixels.min(0)[::-1], *(pixels.max(0)[::-1] + 1)], box, atol=9)


def test_the_network_runs_on_the_image_and_each_tile() -> None:
    engine = BrightnessEngine()
    SlicedPredictor(Predictor(engine), (2, 3))(bright_boxes((200, 300)))
    assert [images.shape for images in engine.batches] == [(1, *INPUT_SIZE, 3)] * 7


def test_stream_equals_single_calls() -> None:
    images = [bright_boxes((128, 96), (10 * k, 20, 10 * k + 20, 50)) for k in range(4)]
    predictor = SlicedPredictor(Predictor(BrightnessEngine()), (2, 1))
    for image, item in zip(images, predictor.stream(images, min_score=0.5), strict=True):
        assert item.result is not None
        np.testing.assert_array_equal(item.result.boxes, predictor(image, min_score=0.5).boxes)
        np.testing.assert_array_equal(item.result.class_map, predictor(image).class_map)
    assert predictor(images[0], class_map=False).class_map is None
    assert predictor(images[0]).confidence is not None


def test_model_without_boxes() -> None:
    outputs = random_outputs()
    spec = replace(SPEC, tasks=("segmentation",))
    result = SlicedPredictor(Predictor(FakeEngine(Outputs(None, None, outputs.segmentation_logits), spec)), (2, 2))(
        bright_boxes((50, 60))
    )
    assert len(result.boxes) == 0
    assert result.class_map is not None


def test_invalid_slices_and_models_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^slices: expected rows and columns, 1 or more and not both 1, got 1x1"):
        SlicedPredictor(Predictor(BrightnessEngine()), (1, 1))
    wrong: list[Any] = [2, "2x3", (2,), (2.5, 1), ()]
    for slices in wrong:
        with pytest.raises(UsageError, match=r"^slices: expected \(rows, columns\) such as \(2, 3\), got "):
            SlicedPredictor(Predictor(BrightnessEngine()), slices)
    none = np.zeros((1, 0), np.float32)
    outputs = NmsOutputs(np.zeros((1, 0, 4), np.float32), none, none.astype(np.int64), np.zeros(1, np.int64), None)
    with pytest.raises(
        UsageError,
        match=r"^slices: expected a model with raw outputs, got one with NMS inside; export it without --nms$",
    ):
        SlicedPredictor(Predictor(FakeEngine(outputs)), (2, 2))(bright_boxes((50, 60)))


def test_large_objects_are_still_detected() -> None:
    image = bright_boxes((2 * INPUT_SIZE[0], 2 * INPUT_SIZE[1]), (4, 6, 90, 120))
    plain, sliced = (
        Predictor(BrightnessEngine())(image, min_score=0.5),
        SlicedPredictor(Predictor(BrightnessEngine()), (2, 2))(image, min_score=0.5),
    )
    np.testing.assert_allclose(sliced.boxes, plain.boxes, atol=1e-3)
