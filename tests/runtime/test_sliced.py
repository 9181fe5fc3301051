from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.arrays import RGBArray
from blitznet.core.boxes import encode
from blitznet.core.errors import UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.sliced import SlicedPredictor, blend, tile_grid
from support.fake_engines import ANCHORS, MAP, SPEC, FakeEngine, random_outputs

SIDE = SPEC.size


class Colours(FakeEngine):
    """Paints each place by its own brightness, and has a box of a cat where it is brightest."""

    def __init__(self) -> None:
        super().__init__(random_outputs())

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        self.fed.append(images)
        rows, columns = SIDE[0] // MAP[0], SIDE[1] // MAP[1]
        grey = images[0, ..., 0].reshape(MAP[0], rows, MAP[1], columns).mean((1, 3)).astype(np.float32)
        class_map = np.zeros((1, SPEC.num_channels, *MAP), np.float32)
        class_map[0, 1] = grey - 100
        logits, offsets = np.full((1, len(ANCHORS), SPEC.num_channels), -9, np.float32), np.zeros((1, len(ANCHORS), 4))
        logits[..., 0] = 9
        bright = images[0, ..., 0] > 120
        if bright.any():
            y, x = (np.flatnonzero(bright.any(axis)) for axis in (1, 0))
            box = np.array([x[0] / SIDE[1], y[0] / SIDE[0], (x[-1] + 1) / SIDE[1], (y[-1] + 1) / SIDE[0]])
            encoded = encode(box[None].astype(np.float32), ANCHORS[:1], SPEC.anchors.variances)
            offsets[0, 0] = encoded[0]
            logits[0, 0, :2] = 0, 5
        return Outputs(offsets.astype(np.float32), logits, class_map)


def spotted(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> RGBArray:
    image = np.full((*size, 3), 40, np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize(("tiles", "size"), [((2, 2), (100, 140)), ((1, 3), (64, 300)), ((4, 2), (333, 77))])
def test_tiles_cover_the_image_and_overlap(tiles: tuple[int, int], size: tuple[int, int]) -> None:
    boxes = tile_grid(size, tiles)
    assert len(boxes) == tiles[0] * tiles[1]
    seen = np.zeros(size, int)
    for x1, y1, x2, y2 in boxes.round().astype(int):
        seen[y1:y2, x1:x2] += 1
    assert seen.min() == 1
    assert (boxes.min(), boxes[:, 2].max(), boxes[:, 3].max()) == (0, size[1], size[0])
    grid = boxes.reshape(*tiles, 4)
    for first, second in zip(grid[0, :-1], grid[0, 1:], strict=True):
        assert (first[2] - second[0]) / (first[2] - first[0]) == pytest.approx(0.25, abs=1e-4)


def test_a_linear_picture_is_blended_without_seams() -> None:
    """Looks that all see the same plane give that plane, wherever their edges lie."""
    size = (120, 200)
    boxes = np.concatenate([[[0, 0, size[1], size[0]]], tile_grid(size, (3, 2))]).astype(np.float32)
    maps = []
    for x1, y1, x2, y2 in boxes:
        y = y1 + (np.arange(MAP[0]) + 0.5) * (y2 - y1) / MAP[0]
        x = x1 + (np.arange(MAP[1]) + 0.5) * (x2 - x1) / MAP[1]
        maps.append(np.stack([y[:, None] + 2 * x, y[:, None] - x]).astype(np.float32))
    blended = blend(maps, boxes, size)
    rows, columns = blended.shape[1:]
    assert rows >= 2 * MAP[0]
    y, x = (np.arange(rows) + 0.5) * size[0] / rows, (np.arange(columns) + 0.5) * size[1] / columns
    expected = np.stack([y[:, None] + 2 * x, y[:, None] - x])
    inside = np.s_[:, 4:-4, 4:-4]  # at the image's own edge the nearest place is repeated
    assert np.abs(blended - expected)[inside].max() < 0.02 * np.ptp(expected)
    steps = np.abs(np.diff(blended, axis=2)).max((1, 2))
    assert (steps < 3 * np.median(np.abs(np.diff(expected, axis=2)), (1, 2)) + 1e-3).all()


@pytest.mark.parametrize(("tiles", "finer"), [((1, 3), (1, 2.4)), ((3, 1), (2.4, 1))])
def test_one_row_of_tiles_gives_a_finer_map_along_it(tiles: tuple[int, int], finer: tuple[float, float]) -> None:
    size = (120, 200)
    boxes = np.concatenate([[[0, 0, size[1], size[0]]], tile_grid(size, tiles)]).astype(np.float32)
    rows, columns = blend([np.zeros((2, *MAP), np.float32)] * 4, boxes, size).shape[1:]
    assert rows >= finer[0] * MAP[0]
    assert columns >= finer[1] * MAP[1]


def test_boxes_are_those_of_the_image_and_come_once() -> None:
    """A box in one tile, one across two, one in the overlap: each is found once, in the image's pixels."""
    size = (4 * SIDE[0], 4 * SIDE[1])
    for box in ((12, 12, 32, 40), (60, 60, 132, 140), (92, 100, 116, 140), (152, 200, 188, 248)):
        result = SlicedPredictor(Colours(), (2, 2))(spotted(size, box), min_score=0.5)
        assert len(result.boxes) == 1
        np.testing.assert_allclose(result.boxes[0], box, atol=5)
        assert result.class_map is not None
        found = np.argwhere(result.class_map == 1)
        np.testing.assert_allclose([*found.min(0)[::-1], *(found.max(0)[::-1] + 1)], box, atol=9)


def test_small_things_are_seen_larger() -> None:
    engine = Colours()
    SlicedPredictor(engine, (2, 3))(spotted((200, 300)))
    assert [images.shape for images in engine.fed] == [(1, *SIDE, 3)] * 7


def test_a_stream_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [spotted((128, 96), (10 * k, 20, 10 * k + 20, 50)) for k in range(4)]
    predictor = SlicedPredictor(Colours(), (2, 1))
    for image, seen in zip(images, predictor.stream(images, min_score=0.5), strict=True):
        assert seen.result is not None
        np.testing.assert_array_equal(seen.result.boxes, predictor(image, min_score=0.5).boxes)
        np.testing.assert_array_equal(seen.result.class_map, predictor(image).class_map)
    alone = predictor(images[0], class_map=False)
    assert alone.class_map is None
    assert predictor(images[0]).confidence is not None


def test_one_task_alone() -> None:
    whole = random_outputs()
    spec = replace(SPEC, tasks=("segmentation",))
    result = SlicedPredictor(FakeEngine(Outputs(None, None, whole.segmentation_logits), spec), (2, 2))(
        spotted((50, 60))
    )
    assert len(result.boxes) == 0
    assert result.class_map is not None


def test_mistakes() -> None:
    with pytest.raises(UsageError, match="tiles: expected rows and columns, 1 or more and not both 1, got 1x1"):
        SlicedPredictor(Colours(), (1, 1))
    none = np.zeros((1, 0), np.float32)
    given = NmsOutputs(np.zeros((1, 0, 4), np.float32), none, none.astype(np.int64), np.zeros(1, np.int64), None)
    with pytest.raises(UsageError, match="finishes boxes itself, which tiles cannot join"):
        SlicedPredictor(FakeEngine(given), (2, 2))(spotted((50, 60)))


def test_what_a_plain_look_sees_is_not_lost() -> None:
    image = spotted((2 * SIDE[0], 2 * SIDE[1]), (4, 6, 90, 120))
    plain, tiled = Predictor(Colours())(image, min_score=0.5), SlicedPredictor(Colours(), (2, 2))(image, min_score=0.5)
    np.testing.assert_allclose(tiled.boxes, plain.boxes, atol=1e-3)
