"""Class maps from PNGs, polygons and run-length encodings."""

from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.data.masks import (
    IndexMask,
    MaskObject,
    RasterizedMask,
    RemappedMask,
    UnknownValueError,
    decode_coco_rle,
    mask_value,
    parse_compressed_rle,
    rasterize_polygons,
    remap_mask,
)
from support import synthetic_data


def test_palette_indices_are_class_values(tmp_path: Path) -> None:
    values = np.asarray([[0, 1, 255], [3, 2, 0]], np.uint8)
    synthetic_data.write_mask(tmp_path / "m.png", values)
    np.testing.assert_array_equal(IndexMask(str(tmp_path / "m.png"), num_values=4).read(), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_offset_shifts_values_of_grayscale_masks(dtype: type, tmp_path: Path) -> None:
    Image.fromarray(np.asarray([[0, 1, 255]], dtype)).save(tmp_path / "m.png")
    assert IndexMask(str(tmp_path / "m.png"), num_values=2, offset=1).read().tolist() == [[1, 2, 255]]


def test_one_bit_masks_are_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(np.asarray([[True, False]])).save(tmp_path / "m.png")
    assert IndexMask(str(tmp_path / "m.png"), num_values=2).read().tolist() == [[1, 0]]


def test_values_without_a_class_are_refused(tmp_path: Path) -> None:
    synthetic_data.write_mask(tmp_path / "m.png", np.asarray([[0, 7, 9, 255]], np.uint8))
    with pytest.raises(UnknownValueError, match=r"m\.png: expected mask values below 4, or 255 .*, got 7, 9"):
        IndexMask(str(tmp_path / "m.png"), num_values=4).read()


def test_rgb_broken_and_missing_masks_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    (tmp_path / "text.png").write_text("no image")
    synthetic_data.write_mask(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8))
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name, message in [
        ("rgb", "got mode RGB; save the mask as indices"),
        ("text", "expected a PNG mask"),
        ("cut", "broken or truncated"),
        ("none", "expected a mask, got a path that does not exist"),
    ]:
        with pytest.raises(DataError, match=message):
            IndexMask(str(tmp_path / f"{name}.png"), num_values=9).read()


def test_remapped_masks_use_the_table() -> None:
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    assert RemappedMask(synthetic_data.ArrayMask(np.asarray([[0, 255]], np.uint8)), table).read().tolist() == [[255, 0]]


def rasterized(polygons: list[NDArray[np.floating]], size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.bool_)
    region, pixels = rasterize_polygons(polygons, size, name="toy")
    mask[region] = pixels
    return mask


def test_axis_aligned_polygons_are_exact() -> None:
    for drawing in synthetic_data.draw(6, seed=3):
        for polygon, piece in zip(drawing.polygons, drawing.instance_masks, strict=True):
            np.testing.assert_array_equal(rasterized([np.asarray(polygon, np.float32)], (96, 120)), piece)


def test_polygons_of_one_object_are_merged() -> None:
    polygons = [np.asarray(p, np.float32) for p in ([0, 0, 2, 0, 2, 2, 0, 2], [4, 0, 6, 0, 6, 1, 4, 1])]
    assert rasterized(polygons, (3, 8)).sum() == 4 + 2


def test_rasterizing_a_region_equals_rasterizing_the_whole_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        corners = rng.integers(3, 12)
        center, radius = rng.uniform(0, 60, 2), rng.uniform(1, 40)
        polygon = (center + rng.uniform(-radius, radius, (corners, 2))).round(rng.integers(1, 4)).ravel()
        [runs] = coco.frPyObjects([polygon.tolist()], 50, 64)
        np.testing.assert_array_equal(rasterized([polygon], (50, 64)), coco.decode(runs))


@pytest.mark.parametrize("value", [1e9, np.nan])
def test_polygons_far_outside_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="expected polygons inside the image of 8x8, got one far outside"):
        rasterize_polygons([np.asarray([0, 0, 4, value, 4, 0], np.float32)], (8, 8), name="x")


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_run_lengths_roundtrip(rows: list[list[bool]]) -> None:
    piece = np.asarray(rows, np.bool_)
    runs = synthetic_data.coco_counts(piece)
    np.testing.assert_array_equal(decode_coco_rle(np.asarray(runs), piece.shape[:2], name="x"), piece)


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_compressed_rle_roundtrip(runs: list[int]) -> None:
    assert parse_compressed_rle(synthetic_data.compress_counts(runs)).tolist() == runs


def test_compressed_rle_matches_the_coco_library() -> None:
    piece = synthetic_data.draw(2, seed=5)[0].instance_masks[0]
    encoded = coco.encode(np.asfortranarray(piece.astype(np.uint8)))
    counts = encoded["counts"]
    text = counts.decode() if isinstance(counts, bytes) else str(counts)
    assert parse_compressed_rle(text).tolist() == synthetic_data.coco_counts(piece)


@pytest.mark.parametrize(
    ("text", "message"), [("P", "truncated"), ("\x01", "broken"), ("é", "broken"), ("o" * 12, "broken")]
)
def test_broken_compressed_rle_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_compressed_rle(text)


@pytest.mark.parametrize("runs", [[3], [1, -1, 4], [100]])
def test_run_lengths_must_cover_the_image(runs: list[int]) -> None:
    with pytest.raises(DataError, match="expected run lengths of 4 pixels in all"):
        decode_coco_rle(np.asarray(runs), (2, 2), name="x")


def test_later_objects_win_and_crowds_are_ignored() -> None:
    square = np.asarray([0, 0, 4, 0, 4, 4, 0, 4], np.float64)
    objects = (
        MaskObject(1, (0, 0, 4, 4), polygons=(square,)),
        MaskObject(255, (2, 0, 6, 4), polygons=(square + np.asarray([2, 0] * 4, np.float64),)),
        MaskObject(2, (3, 0, 4, 4), runs=np.asarray([12, 4, 8])),
    )
    assert RasterizedMask("x", (4, 6), objects).read()[0].tolist() == [1, 1, 255, 2, 255, 255]


def test_datasets_with_more_than_254_classes_are_rasterized_after_mapping() -> None:
    """Value 255 is always ignored: labels from 254 on use one value more."""
    square = np.asarray([0, 0, 1, 0, 1, 1, 0, 1], np.float64)
    labels, step = (0, 253, 254, 300), np.asarray([1, 0] * 4, np.float64)
    mask = RasterizedMask(
        "x",
        (1, 5),
        tuple(MaskObject(mask_value(k), (i, 0, i + 1, 1), (square + i * step,)) for i, k in enumerate(labels)),
    )
    table = np.zeros(303, np.uint8)
    table[[mask_value(k) for k in labels]] = 4, 3, 2, 1
    table[255] = 255
    assert remap_mask(mask, table).read().tolist() == [[4, 3, 2, 1, 0]]
    twice = np.full(256, 9, np.uint8)
    assert remap_mask(remap_mask(mask, table), twice).read().tolist() == [[9] * 5]
    with pytest.raises(DataError, match="x: expected at most 254 classes in a class map, got class number 255"):
        mask.read()


def test_objects_without_outline_are_ignored_below_other_objects() -> None:
    square = np.asarray([0, 0, 2, 0, 2, 2, 0, 2], np.float64)
    objects = (MaskObject(1, (0, 0, 2, 2), polygons=(square,)), MaskObject(2, (1.0, 0.0, 3.5, 2.0)))
    assert RasterizedMask("x", (2, 5), objects).read()[0].tolist() == [1, 1, 255, 255, 0]


def test_huge_class_maps_are_refused() -> None:
    with pytest.raises(DataError, match="make it smaller"):
        RasterizedMask("x", (100_000, 100_000), ()).read()
