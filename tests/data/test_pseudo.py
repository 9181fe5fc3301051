"""What a teacher paints is kept where the boxes say the same."""

from pathlib import Path

import numpy as np
import pytest

from blitznet.core.arrays import IGNORE_INDEX, ClassMap
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.pseudo import agreed, generate_pseudo_masks, set_folder, with_pseudo_masks
from blitznet.data.sources import open_mapped, parse_source
from support import synthetic_data


def sample(boxes: list[tuple[float, ...]], labels: list[int], crowd: list[bool] | None = None) -> Sample:
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


def seen(*areas: tuple[int, int, int, int, int]) -> ClassMap:
    """Class maps (10, 12) with areas x1 y1 x2 y2 value."""
    values = np.zeros((10, 12), np.uint8)
    for x1, y1, x2, y2, value in areas:
        values[y1:y2, x1:x2] = value
    return values


def test_inside_its_box_the_teacher_is_believed() -> None:
    given = seen((2, 2, 6, 6, 2))
    np.testing.assert_array_equal(agreed(given, sample([(2, 2, 7, 7)], [1])), given)  # the corner stays background


def test_what_no_box_of_its_class_holds_is_void() -> None:
    found = agreed(seen((0, 0, 8, 3, 1)), sample([(0, 0, 4, 3), (4, 0, 8, 3)], [0, 1]))
    assert (found[:3, :4] == 1).all()
    assert (found[:3, 4:8] == IGNORE_INDEX).all()
    assert (found[3:] == 0).all()


def test_an_object_that_the_teacher_missed_is_void() -> None:
    found = agreed(seen((0, 0, 1, 1, 1)), sample([(0, 0, 6, 6)], [0]))
    assert found[0, 0] == 1  # what little it saw
    assert (found[:6, :6].ravel()[1:] == IGNORE_INDEX).all()
    assert (found[6:] == 0).all()


def test_of_two_boxes_that_overlap_each_may_be_right() -> None:
    found = agreed(seen((0, 0, 6, 6, 1), (4, 4, 10, 10, 3)), sample([(0, 0, 6, 6), (4, 4, 10, 10)], [0, 2]))
    assert found[0, 0] == 1
    assert found[5, 5] == 3
    assert (found != IGNORE_INDEX).all()


def test_crowds_are_void_and_boxes_may_leave_the_image() -> None:
    found = agreed(seen((0, 0, 4, 4, 1)), sample([(-3, -3, 4, 4), (6, 0, 30, 30)], [0, 1], [False, True]))
    assert (found[:4, :4] == 1).all()
    assert (found[:, 6:] == IGNORE_INDEX).all()
    assert agreed(seen(), sample([(11.9, 9.9, 12, 10)], [0])).shape == (10, 12)


def test_a_set_is_painted_once_and_read_again(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(4, seed=1)
    synthetic_data.write_voc(tmp_path / "voc", drawings)
    source = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    dataset = open_mapped(source, synthetic_data.NAMES)
    maps = {drawing.id: drawing.class_map for drawing in drawings}
    asked: list[int] = []

    def teacher(image: ImageSource) -> ClassMap:
        asked.append(1)
        return maps[Path(image.name).stem]

    boxed = [bool(len(drawing.labels)) for drawing in drawings]
    assert sum(generate_pseudo_masks(teacher, dataset, source, tmp_path / "out")) == len(asked) == len(boxed)
    assert sum(generate_pseudo_masks(teacher, dataset, source, tmp_path / "out")) == 0
    assert set_folder(source) == f"voc-{tmp_path.name}-voc-train"
    taught = with_pseudo_masks(dataset, source, tmp_path / "out")
    assert (taught.class_names, taught.title, len(taught), taught.ids) == (
        dataset.class_names,
        dataset.title,
        4,
        dataset.ids,
    )
    for index, drawing in enumerate(drawings):
        mine = taught[index]
        assert mine.annotated_mask_classes.all()
        np.testing.assert_array_equal(mine.class_map(), agreed(drawing.class_map, dataset[index]))


def test_real_masks_go_first_and_names_are_the_runs(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(2, seed=1)
    synthetic_data.write_voc(tmp_path / "voc", drawings)
    source = parse_source(f"voc:{tmp_path}/voc@train")
    bare = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    names = ("square", "circle", "cross")  # in another order, one of them unknown to the teacher
    maps = {drawing.id: drawing.class_map for drawing in drawings}
    list(
        generate_pseudo_masks(
            lambda image: maps[Path(image.name).stem], open_mapped(bare, synthetic_data.NAMES), bare, tmp_path / "out"
        )
    )
    real = with_pseudo_masks(open_mapped(source, names), source, tmp_path / "out")
    assert real[0].annotated_mask_classes.tolist() == [True, False, True]
    np.testing.assert_array_equal(real[0].class_map(), open_mapped(source, names)[0].class_map())
    painted = with_pseudo_masks(open_mapped(bare, names), bare, tmp_path / "out")[0]
    assert painted.annotated_mask_classes.tolist() == [True, False, True]
    values = painted.class_map()
    assert values is not None
    expected = agreed(drawings[0].class_map, open_mapped(bare, synthetic_data.NAMES)[0])
    table = np.zeros(256, np.uint8)
    table[IGNORE_INDEX] = IGNORE_INDEX
    table[[synthetic_data.NAMES.index("square") + 1, synthetic_data.NAMES.index("cross") + 1]] = 1, 3
    np.testing.assert_array_equal(values, table[expected])


def test_a_folder_of_another_teachers_is_left_alone(tmp_path: Path) -> None:
    """Its values stand for other classes: under new names a cross would be read as a circle."""
    synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(1, seed=1))
    source = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    names = ("square", "cross")
    list(
        generate_pseudo_masks(
            lambda _: np.zeros((1, 1), np.uint8), open_mapped(source, names), source, tmp_path / "out"
        )
    )
    with pytest.raises(UsageError, match=r"out: painted for the classes square, cross, this teacher knows .*--out"):
        next(
            generate_pseudo_masks(
                lambda _: np.zeros((1, 1), np.uint8),
                open_mapped(source, synthetic_data.NAMES),
                source,
                tmp_path / "out",
            )
        )
    assert (tmp_path / "out" / "classes.txt").read_text() == "square\ncross\n"


def test_sets_of_one_name_lie_apart() -> None:
    one, other = (set_folder(parse_source(f"voc:{place}/data@train")) for place in ("a", "b"))
    assert one != other


def test_a_image_that_was_not_painted_stays_as_it_is(tmp_path: Path) -> None:
    synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(1, seed=1))
    source = parse_source(f"voc:{tmp_path}/voc@train,masks=none")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "classes.txt").write_text("cross\n")
    taught = with_pseudo_masks(open_mapped(source, synthetic_data.NAMES), source, tmp_path / "out")
    assert taught[0].mask is None
    assert not taught[0].annotated_mask_classes.any()
    assert taught.unmapped == ()


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    synthetic_data.write_voc(tmp_path / "voc", synthetic_data.draw(1, seed=1))
    source = parse_source(f"voc:{tmp_path}/voc@train")
    with pytest.raises(DataError, match=r"expected a folder of a teacher's class maps, there is no classes\.txt"):
        with_pseudo_masks(open_mapped(source, synthetic_data.NAMES), source, tmp_path)
