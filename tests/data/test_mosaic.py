"""Mosaics: pixels, boxes, class maps and soft labels of the four images stay aligned."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blitznet.core.arrays import Flags
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample, SoftLabels
from blitznet.data.augment import LIGHT, PLAIN, POLICIES, PolicyName
from blitznet.data.crop import CropWindow, full_window
from blitznet.data.mosaic import covered_cells, draw_quadrants, mosaic
from blitznet.data.train_sample import TrainSample
from support.synthetic_data import ArrayMask

SIZE, MAP, SOFT = (120, 150), (30, 38), (15, 19)
HEIGHT, WIDTH, COUNT = 96, 128, 4
COLORS = np.asarray([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]], np.uint8)


@dataclass(frozen=True, eq=False)
class ArraySoftLabels:
    """Soft labels in memory."""

    labels: SoftLabels

    def read(self) -> SoftLabels:
        return self.labels

    @property
    def known_classes(self) -> Flags:
        return np.ones(COUNT, np.bool_)


def make_sample(label: int, *, soft: bool = False, mask: bool = True, annotated: int = COUNT) -> Sample:
    """A rectangle of class `label` in that class's color, on black."""
    image, class_map = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    image[24:72, 32:96] = COLORS[label]
    class_map[24:72, 32:96] = label + 1
    logits = np.full((COUNT + 1, HEIGHT // 4, WIDTH // 4), -20, np.float32)
    logits[0] = 20
    logits[:, 6:18, 8:24] = -20
    logits[label + 1, 6:18, 8:24] = 20
    flags = np.arange(COUNT) < annotated
    return Sample(
        id=f"image{label}",
        image=ImageSource(image),
        boxes=np.array([[32, 24, 96, 72]], np.float32),
        labels=np.array([label]),
        difficult=np.zeros(1, bool),
        crowd=np.zeros(1, bool),
        annotated_box_classes=flags,
        annotated_mask_classes=flags & mask,
        mask=ArrayMask(class_map) if mask else None,
        soft_labels=ArraySoftLabels(SoftLabels(logits, (0.5 / 24, 0.5 / 32), (1 / 24, 1 / 32))) if soft else None,
    )


def make_mosaic(seed: int, policy: PolicyName = "plain", *, soft: bool = False) -> TrainSample:
    samples = [make_sample(label, soft=soft) for label in range(COUNT)]
    rng = np.random.default_rng(seed)
    return mosaic(samples, rng, POLICIES[policy], size=SIZE, map_size=MAP, soft_size=SOFT)


def test_plain_mosaic_has_every_image_in_its_quadrant() -> None:
    made = make_mosaic(3)
    assert made.id == "image0+image1+image2+image3"
    assert made.labels.tolist() == [0, 1, 2, 3]
    regions = draw_quadrants(SIZE, np.random.default_rng(3))
    for region, box, label in zip(regions, made.boxes, range(4), strict=True):
        x1, y1, x2, y2 = region
        width, height = x2 - x1, y2 - y1
        expected = [x1 + width / 4, y1 + height / 4, x1 + 3 * width / 4, y1 + 3 * height / 4]
        np.testing.assert_allclose(box * np.array([*SIZE[::-1]] * 2), expected, atol=1e-3)
        center = made.image[(y1 + y2) // 2, (x1 + x2) // 2]
        np.testing.assert_array_equal(center, COLORS[label])


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(POLICIES)), st.integers(0, 10**6))
def test_boxes_and_maps_stay_aligned(policy: PolicyName, seed: int) -> None:
    """Within a cell of the class map; the plain policy's color shows the class of a pixel."""
    made = make_mosaic(seed, policy, soft=True)
    assert made.soft_labels is not None
    assert made.image.shape == (*SIZE, 3)
    assert made.class_map.shape == MAP
    assert made.soft_labels.shape == (COUNT + 1, *SOFT)
    assert ((made.boxes >= 0) & (made.boxes <= 1)).all()
    for box, label in zip(made.boxes, made.labels, strict=True):
        rows, columns = np.nonzero(made.class_map == label + 1)
        x1, y1, x2, y2 = box
        if (x2 - x1) * MAP[1] < 2 or (y2 - y1) * MAP[0] < 2:
            continue
        low = np.array([columns.min() / MAP[1], rows.min() / MAP[0]])
        high = np.array([(columns.max() + 1) / MAP[1], (rows.max() + 1) / MAP[0]])
        cell = np.array([1 / MAP[1], 1 / MAP[0]])
        assert (np.abs(low - (x1, y1)) <= cell).all()
        assert (np.abs(high - (x2, y2)) <= cell).all()
    if policy == "plain":
        _require_colors(made)


def _require_colors(made: TrainSample) -> None:
    """The pixel under the center of a cell has the color of the cell's class, but at edges."""
    rows = ((np.arange(MAP[0]) + 0.5) * SIZE[0] / MAP[0]).astype(int)
    columns = ((np.arange(MAP[1]) + 0.5) * SIZE[1] / MAP[1]).astype(int)
    colors = np.concatenate([np.zeros((1, 3), np.uint8), COLORS])
    distance = np.abs(made.image[np.ix_(rows, columns)][:, :, None].astype(int) - colors).sum(-1)
    assert (distance.argmin(-1) == made.class_map).mean() > 0.93
    assert made.soft_labels is not None
    labeled = np.asarray(made.soft_labels.max(0) > 0)
    assert labeled.mean() > 0.8
    hard = made.soft_labels.argmax(0)
    expected = made.class_map[::2, ::2]
    assert (hard == expected)[labeled].mean() > 0.85


def test_parts_of_the_class_map_are_those_of_the_single_images() -> None:
    """Every cell belongs to exactly one quadrant, at every size of the map."""
    for seed in range(50):
        for map_size in ((30, 38), (15, 19), (7, 5), (120, 150)):
            count = np.zeros(map_size, int)
            for region in draw_quadrants(SIZE, np.random.default_rng(seed)):
                rows, columns = covered_cells(region, SIZE, map_size)
                count[rows, columns] += 1
            assert (count == 1).all()


@pytest.mark.parametrize("partial", [make_sample(1, annotated=3), make_sample(1, mask=False)])
def test_images_with_other_annotated_classes_are_refused(partial: Sample) -> None:
    samples = [make_sample(0), partial, make_sample(2), make_sample(3)]
    with pytest.raises(ValueError, match="expected 4 samples with the same annotated classes"):
        mosaic(samples, np.random.default_rng(0), LIGHT, size=SIZE, map_size=MAP)


def test_partial_annotations_are_kept() -> None:
    samples = [make_sample(label, annotated=3, mask=False) for label in (0, 1, 2, 0)]
    made = mosaic(samples, np.random.default_rng(0), PLAIN, size=SIZE, map_size=MAP)
    assert made.annotated_box_classes.tolist() == [True, True, True, False]
    assert not made.annotated_mask_classes.any()
    assert (made.class_map == 255).all()
    assert made.soft_labels is None


def test_a_quadrant_without_soft_labels_has_cells_without_a_label() -> None:
    samples = [make_sample(0, soft=True), *(make_sample(label) for label in (1, 2, 3))]
    made = mosaic(samples, np.random.default_rng(0), PLAIN, size=SIZE, map_size=MAP, soft_size=SOFT)
    assert made.soft_labels is not None
    rows, columns = covered_cells(draw_quadrants(SIZE, np.random.default_rng(0))[0], SIZE, SOFT)
    labeled = np.asarray(made.soft_labels.max(0) > 0)
    assert labeled[rows, columns].mean() > 0.8
    labeled[rows, columns] = False
    assert not labeled.any()


def test_crowds_stay_crowds() -> None:
    crowd = replace(make_sample(0), crowd=np.ones(1, bool))
    made = mosaic(
        [crowd, *(make_sample(k) for k in (1, 2, 3))], np.random.default_rng(0), PLAIN, size=SIZE, map_size=MAP
    )
    assert made.crowd.tolist() == [True, False, False, False]


@pytest.mark.parametrize("flipped", [False, True])
def test_embedded_window_shows_the_same_at_the_region(flipped: bool) -> None:
    window = full_window((HEIGHT, WIDTH))
    window = window.flip() if flipped else window
    region = (20, 10, 70, 90)
    canvas = window.embed(region, SIZE)
    box = np.array([[10, 20, 50, 60]], np.float32)
    inside = window.normalize_boxes(box) * np.array([50, 80, 50, 80]) + np.array([20, 10, 20, 10])
    np.testing.assert_allclose(canvas.normalize_boxes(box) * np.array([*SIZE[::-1]] * 2), inside, atol=1e-4)
    assert isinstance(canvas, CropWindow)
    assert canvas.flipped is flipped
