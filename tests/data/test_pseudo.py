"""Pseudo-masks: a teacher's class map where it agrees with the boxes."""

from pathlib import Path

import numpy as np
import pytest

from blitznet.core.arrays import IGNORE_INDEX, ClassMap
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.pseudo import dataset_folder, generate_pseudo_masks, ignore_disagreements, with_pseudo_masks
from blitznet.data.sources import open_mapped, parse_source
from support import synthetic_data


def make_sample(boxes: list[tuple[float, ...]], labels: list[int], crowd: list[bool] | None = None) -> Sample:
    count = len(labels)
    return Sample(
        id="a",
        image=ImageSource(np.zeros((10, 12, 3), np.uint8)),
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=np.asarray(labels, np.int64),
        difficult=np.zeros(count, np.bool_),
        crowd=np.asarray(crowd or [False] * count, np.bool_),
        annotated_box_classes=np.ones(3, np.bool_),
        annotated_mask_classes=np.zeros(3, np.bool_),
    )


def make_class_map(*areas: tuple[int, int, int, int, int]) -> ClassMap:
    """A class map (10, 12) with rectangles x1 y1 x2 y2 of a value."""
    values = np.zeros((10, 12), np.uint8)
    for x1, y1, x2, y2, value in areas:
        values[y1:y2, x1:x2] = value
    return values


def test_pixels_inside_a_box_of_their_class_are_kept() -> None:
    class_map = make_class_map((2, 2, 6, 6, 2))
    np.testing.assert_array_equal(ignore_disagreements(class_map, make_sample([(2, 2, 7, 7)], [1])), class_map)


def test_pixels_outside_boxes_of_their_class_are_ignored() -> None:
    result = ignore_disagreements(make_class_map((0, 0, 8, 3, 1)), make_sample([(0, 0, 4, 3), (4, 0, 8, 3)], [0, 1]))
    assert (result[:3, :4] == 1).all()
    assert (result[:3, 4:8] == IGNORE_INDEX).all()
    assert (result[3:] == 0).all()


def test_boxes_of_missed_objects_are_ignored() -> None:
    result = ignore_disagreements(make_class_map((0, 0, 1, 1, 1)), make_sample([(0, 0, 6, 6)], [0]))
    assert result[0, 0] == 1  # the teacher's only pixel of the class
    assert (result[:6, :6].ravel()[1:] == IGNORE_INDEX).all()
    assert (result[6:] == 0).all()


def test_overlapping_boxes_keep_both_classes() -> None:
    result = ignore_disagreements(
        make_class_map((0, 0, 6, 6, 1), (4, 4, 10, 10, 3)), make_sample([(0, 0, 6, 6), (4, 4, 10, 10)], [0, 2])
    )
    assert result[0, 0] == 1
    assert result[5, 5] == 3
    assert (result != IGNORE_INDEX).all()


def test_crowds_are_ignored_and_boxes_may_leave_the_image() -> None:
    result = ignore_disagreements(
        make_class_map((0, 0, 4, 4, 1)), make_sample([(-3, -3, 4, 4), (6, 0, 30, 30)], [0, 1], [False, True])
    )
    assert (result[:4, :4] == 1).all()
    assert (result[:, 6:] == IGNORE_INDEX).all()
    assert ignore_disagreements(make_class_map(), make_sample([(11.9, 9.9, 12, 10)], [0])).shape == (10, 12)


def test_generated_masks_are_kept_and_read(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4, seed=1)
    synthetic_data.write_voc(tmp_path / "voc", drawings)
    source = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    dataset = open_mapped(source, synthetic_data.NAMES)
    maps = {drawing.id: drawing.class_map for drawing in drawings}
    calls: list[int] = []

    def teacher(image: ImageSource) -> ClassMap:
        calls.append(1)
        return maps[Path(image.name).stem]

    assert sum(generate_pseudo_masks(teacher, dataset, source, tmp_path / "out")) == len(calls) == len(drawings)
    assert sum(generate_pseudo_masks(teacher, dataset, source, tmp_path / "out")) == 0
    assert dataset_folder(source) == f"voc-{tmp_path.name}-voc-train"
    pseudo = with_pseudo_masks(dataset, source, tmp_path / "out")
    assert (pseudo.class_names, pseudo.title, len(pseudo), pseudo.ids) == (
        dataset.class_names,
        dataset.title,
        4,
        dataset.ids,
    )
    for index, drawing in enumerate(drawings):
        sample = pseudo[index]
        assert sample.annotated_mask_classes.all()
        np.testing.assert_array_equal(sample.class_map(), ignore_disagreements(drawing.class_map, dataset[index]))


def test_real_masks_precede_pseudo_masks_and_class_names_are_mapped(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(2, seed=1)
    synthetic_data.write_voc(tmp_path / "voc", drawings)
    source = parse_source(f"voc:{tmp_path}/voc@train")
    no_masks = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    names = ("square", "circle", "cross")  # in another order, one of them unknown to the teacher
    maps = {drawing.id: drawing.class_map for drawing in drawings}
    list(
        generate_pseudo_masks(
            lambda image: maps[Path(image.name).stem],
            open_mapped(no_masks, synthetic_data.NAMES),
            no_masks,
            tmp_path / "out",
        )
    )
    real = with_pseudo_masks(open_mapped(source, names), source, tmp_path / "out")
    assert real[0].annotated_mask_classes.tolist() == [True, False, True]
    np.testing.assert_array_equal(real[0].class_map(), open_mapped(source, names)[0].class_map())
    sample = with_pseudo_masks(open_mapped(no_masks, names), no_masks, tmp_path / "out")[0]
    assert sample.annotated_mask_classes.tolist() == [True, False, True]
    values = sample.class_map()
    assert values is not None
    expected = ignore_disagreements(drawings[0].class_map, open_mapped(no_masks, synthetic_data.NAMES)[0])
    table = np.zeros(256, np.uint8)
    table[IGNORE_INDEX] = IGNORE_INDEX
    table[[synthetic_data.NAMES.index("square") + 1, synthetic_data.NAMES.index("cross") + 1]] = 1, 3
    np.testing.assert_array_equal(values, table[expected])


def test_folders_of_a_teacher_with_other_classes_are_refused(tmp_path: Path) -> None:
    """Their mask values mean other classes: a cross would be read as a circle."""
    synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(1, seed=1))
    source = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    names = ("square", "cross")
    list(
        generate_pseudo_masks(
            lambda _: np.zeros((1, 1), np.uint8), open_mapped(source, names), source, tmp_path / "out"
        )
    )
    with pytest.raises(UsageError, match=r"out: expected .* of the teacher's classes .*, got square, cross; .*--out"):
        next(
            generate_pseudo_masks(
                lambda _: np.zeros((1, 1), np.uint8),
                open_mapped(source, synthetic_data.NAMES),
                source,
                tmp_path / "out",
            )
        )
    assert (tmp_path / "out" / "classes.txt").read_text() == "square\ncross\n"


def test_datasets_of_one_name_have_separate_folders() -> None:
    first, second = (dataset_folder(parse_source(f"voc:{parent}/data@train")) for parent in ("a", "b"))
    assert first != second


def test_images_without_a_pseudo_mask_are_unchanged(tmp_path: Path) -> None:
    synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(1, seed=1))
    source = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "classes.txt").write_text("cross\n")
    pseudo = with_pseudo_masks(open_mapped(source, synthetic_data.NAMES), source, tmp_path / "out")
    assert pseudo[0].mask is None
    assert not pseudo[0].annotated_mask_classes.any()
    assert pseudo.unmapped == ()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(1, seed=1))
    source = parse_source(f"voc:{tmp_path}/voc@train")
    with pytest.raises(DataError, match=r"expected a folder of pseudo-masks, got one without classes\.txt"):
        with_pseudo_masks(open_mapped(source, synthetic_data.NAMES), source, tmp_path)
