"""Soft labels: a teacher's probabilities in a crop, corrected by boxes, equal to slow versions in plain Python."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import Floats
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample, SoftLabels
from blitznet.data.augment import POLICIES, augment
from blitznet.data.crop import CropWindow, full_window
from blitznet.data.pseudo import dataset_folder
from blitznet.data.soft_labels import (
    generate_soft_labels,
    read_soft_labels,
    warp_soft_labels,
    with_soft_labels,
    write_soft_labels,
)
from blitznet.data.sources import open_dataset, open_mapped, parse_source
from support import synthetic_data

SIZE = (12, 10)
NAMES = ("a", "b")


class FixedLabels:
    """The same soft labels at every read."""

    def __init__(self, labels: SoftLabels) -> None:
        self.labels = labels
        self.known_classes = np.isfinite(labels.logits[1:, 0, 0])

    def read(self) -> SoftLabels:
        return self.labels


def centered(logits: Floats) -> SoftLabels:
    """Logits (C, h, w) whose grid points are the centers of cells that cover the image."""
    rows, columns = logits.shape[1:]
    return SoftLabels(logits, (0.5 / rows, 0.5 / columns), (1 / rows, 1 / columns))


def sample_with(
    labels: SoftLabels, boxes: Sequence[tuple[float, ...]], classes: list[int], crowd: list[bool] | None = None
) -> Sample:
    count = len(classes)
    return Sample(
        id="x",
        image=ImageSource(np.zeros((*SIZE, 3), np.uint8)),
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=np.asarray(classes, np.int64),
        difficult=np.zeros(count, np.bool_),
        crowd=np.asarray(crowd or [False] * count, np.bool_),
        annotated_box_classes=np.ones(2, np.bool_),
        annotated_mask_classes=np.zeros(2, np.bool_),
        soft_labels=FixedLabels(labels),
    )


def one_class(value: int, size: tuple[int, int] = SIZE) -> Floats:
    """Logits that are sure of one channel everywhere."""
    logits = np.full((3, *size), -20.0, np.float32)
    logits[value] = 20.0
    return logits


def warped(sample: Sample, window: CropWindow | None = None, size: tuple[int, int] = SIZE) -> Floats:
    labels = warp_soft_labels(sample, window or full_window(SIZE), SIZE, size)
    assert labels is not None
    return np.asarray(labels / 255, np.float32)


def test_unchanged_grid_returns_the_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (3, *SIZE)).astype(np.float32)
    everything = [(0.0, 0.0, 10.0, 12.0)] * 2
    labels_of_crop = warped(sample_with(centered(logits), everything, [0, 1]))
    expected = np.exp(logits) / np.exp(logits).sum(0)
    np.testing.assert_allclose(labels_of_crop, expected, atol=1 / 255)


@pytest.mark.parametrize("flipped", [False, True])
def test_crop_equals_pointwise_interpolation(flipped: bool) -> None:
    rng = np.random.default_rng(1)
    labels = SoftLabels(rng.normal(0, 2, (3, 5, 7)).astype(np.float32), (0.03, 0.02), (0.24, 0.16))
    sample = sample_with(labels, [(0.0, 0.0, 10.0, 12.0)] * 2, [0, 1])
    window = CropWindow(1.5, 2.0, 9.0, 11.0, flipped)
    labels_of_crop = warped(sample, window, (4, 6))

    def value(channel: int, y: float, x: float) -> float:
        row, column = np.clip((y / SIZE[0] - 0.03) / 0.24, 0, 4), np.clip((x / SIZE[1] - 0.02) / 0.16, 0, 6)
        y0, x0 = min(int(row), 3), min(int(column), 5)
        fy, fx = row - y0, column - x0
        grid = labels.logits[channel]
        top = grid[y0, x0] * (1 - fx) + grid[y0, x0 + 1] * fx
        return float(top * (1 - fy) + (grid[y0 + 1, x0] * (1 - fx) + grid[y0 + 1, x0 + 1] * fx) * fy)

    for i in range(4):
        for j in range(6):
            y, x = 2.0 + (i + 0.5) * 9 / 4, 1.5 + ((5 - j if flipped else j) + 0.5) * 7.5 / 6
            exponentials = np.exp([value(channel, y, x) for channel in range(3)])
            np.testing.assert_allclose(labels_of_crop[:, i, j], exponentials / exponentials.sum(), atol=1 / 255)


def test_class_has_no_probability_outside_its_boxes() -> None:
    labels_of_crop = warped(sample_with(centered(one_class(2)), [(0, 0, 5, 12)], [1]))
    assert (labels_of_crop[2, :, :5] == 1).all()
    assert (labels_of_crop[:, :, 5:] == 0).all()  # the boxes refute the teacher, nothing is left


def test_class_without_annotated_boxes_is_not_corrected() -> None:
    sample = replace(
        sample_with(centered(one_class(2)), [], []), annotated_box_classes=np.array([True, False], np.bool_)
    )
    assert (warped(sample)[2] == 1).all()


def test_boxes_of_missed_objects_have_no_label() -> None:
    labels_of_crop = warped(sample_with(centered(one_class(0)), [(0, 0, 4, 6)], [0]))
    assert (labels_of_crop[:, :6, :4] == 0).all()
    assert (labels_of_crop[0, 6:] == 1).all()
    assert (labels_of_crop[0, :, 4:] == 1).all()


def test_crowds_have_no_label() -> None:
    labels_of_crop = warped(sample_with(centered(one_class(0)), [(0, 0, 4, 6), (6, 6, 9, 9)], [0, -1], [True, True]))
    assert (labels_of_crop[:, :6, :4] == 0).all()
    assert (labels_of_crop[:, 6:9, 6:9] == 0).all()
    assert (labels_of_crop[0, 9:] == 1).all()


def test_no_label_outside_the_image() -> None:
    labels_of_crop = warped(sample_with(centered(one_class(0)), [], []), CropWindow(-10, -12, 20, 24), (36, 30))
    assert (labels_of_crop[0, 12:24, 10:20] == 1).all()
    assert labels_of_crop.sum() == 12 * 10


def test_files_keep_labels(tmp_path: Path) -> None:
    labels = SoftLabels(np.arange(12, dtype=np.float32).reshape(3, 2, 2), (0.1, 0.2), (0.3, 0.4))
    write_soft_labels(tmp_path / "a.npz", labels)
    read = read_soft_labels(tmp_path / "a.npz")
    np.testing.assert_array_equal(read.logits, labels.logits)
    np.testing.assert_allclose((*read.first, *read.step), (0.1, 0.2, 0.3, 0.4), rtol=1e-6)
    for content in (b"", b"no zip", (tmp_path / "a.npz").read_bytes()[:100]):
        (tmp_path / "b.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.npz: expected soft labels"):
            read_soft_labels(tmp_path / "b.npz")


class Teacher:
    """Is sure of its first class everywhere; counts its calls."""

    class_names: tuple[str, ...] = ("zebra", *synthetic_data.NAMES[:2])
    calls = 0

    def __call__(self, image: ImageSource) -> SoftLabels:
        self.calls += 1
        logits = np.zeros((4, 3, 3), np.float32)
        logits[1:] = [[[1.0]], [[2.0]], [[3.0]]]
        return centered(logits)


def test_folder_of_a_teacher(tmp_path: Path) -> None:
    synthetic_data.write_folder(tmp_path / "set", synthetic_data.draw(3, seed=0))
    source = parse_source(f"folder:{tmp_path / 'set'}")
    teacher, out = Teacher(), tmp_path / "out"
    assert list(generate_soft_labels(teacher, open_dataset(source), source, out)) == [True] * 3
    assert list(generate_soft_labels(teacher, open_dataset(source), source, out)) == [False] * 3
    assert teacher.calls == 3
    assert len(list((out / dataset_folder(source)).glob("*.npz"))) == 3

    dataset = with_soft_labels(open_mapped(source, synthetic_data.NAMES), source, out)
    labels = dataset[0].soft_labels
    assert labels is not None
    logits = labels.read().logits
    assert len(logits) == len(synthetic_data.NAMES) + 1
    np.testing.assert_allclose(logits[0, 0, 0], np.log(1 + np.exp(1.0)), rtol=1e-3)  # zebra is background
    np.testing.assert_array_equal(logits[1:3, 0, 0], [2.0, 3.0])
    assert np.isneginf(logits[3:]).all()  # classes that the teacher lacks

    second_teacher = Teacher()
    second_teacher.class_names = ("other",)
    with pytest.raises(UsageError, match="expected labels of the teacher's classes other"):
        list(generate_soft_labels(second_teacher, open_dataset(source), source, out))
    with pytest.raises(DataError, match="expected a folder of soft labels, got one without"):
        with_soft_labels(open_mapped(source, synthetic_data.NAMES), source, tmp_path)


def test_augmentation_moves_labels_with_the_image() -> None:
    values = np.zeros((60, 80, 3), np.uint8)
    values[20:40, 30:60] = 255
    logits = np.full((3, 60, 80), -9.0, np.float32)
    logits[0] = 0.0
    logits[1, 20:40, 30:60] = 9.0
    sample = replace(sample_with(centered(logits), [(30, 20, 60, 40)], [0]), image=ImageSource(Image.fromarray(values)))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        policy = replace(POLICIES["strong"], color="none", fill=(0, 0, 0))
        result = augment(sample, rng, policy, size=(64, 64), map_size=(32, 32), soft_size=(64, 64))
        assert result.soft_labels is not None
        labeled = result.soft_labels.any(0)
        is_object = result.soft_labels[1] > 127
        white = result.image[..., 0] > 127
        assert (is_object == white)[labeled].mean() > 0.97
