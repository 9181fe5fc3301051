"""A set's own names onto the model's classes."""

from dataclasses import dataclass

import numpy as np
import pytest

from blitznet.core.arrays import ClassMap
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import ANY_CLASS, Sample
from blitznet.data.mapping import map_classes
from support import synthetic_data


@dataclass(frozen=True)
class One:
    """A Dataset of one Sample: an object of every class, one of them a crowd, and an inverted box."""

    class_names: tuple[str, ...]
    mask: bool = True
    boxes: bool = True
    title: str = "toy"

    @property
    def ids(self) -> tuple[str, ...]:
        return ("one",)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        count = len(self.class_names)
        rows = [(k, 0, k + 1, 1) for k in range(count)] + [(5, 5, 5, 9)] if self.boxes else []
        labels = [*range(count), 0] if self.boxes else []
        return Sample(
            id="one",
            image=ImageSource(np.zeros((2, 2, 3), np.uint8)),
            boxes=np.asarray(rows, np.float32).reshape(-1, 4),
            labels=np.asarray(labels, np.int64),
            difficult=np.zeros(len(labels), np.bool_),
            crowd=np.asarray([k == count - 1 for k in range(len(labels))], np.bool_),
            annotated_box_classes=np.full(count, self.boxes),
            annotated_mask_classes=np.full(count, self.mask),
            mask=synthetic_data.ArrayMask(self._values()) if self.mask else None,
        )

    def _values(self) -> ClassMap:
        return np.asarray([[*range(len(self.class_names) + 1), 255]], np.uint8)


MODEL = ("person", "aeroplane", "tvmonitor")


def test_names_meet_whatever_their_spelling() -> None:
    mapped = map_classes(One(("Airplane", "truck", "TV", "pedestrian")), MODEL)
    sample = mapped[0]
    assert mapped.class_names == MODEL
    assert (mapped.unmapped, mapped.void) == (("truck",), ())
    assert sample.labels.tolist() == [1, 2, 0]  # the truck is background, the inverted box gone
    assert sample.boxes[:, 0].tolist() == [0, 2, 3]
    assert sample.crowd.tolist() == [False, False, True]
    class_map = sample.class_map()
    assert class_map is not None
    assert class_map.tolist() == [[0, 2, 0, 3, 1, 255]]
    assert sample.annotated_box_classes.tolist() == sample.annotated_mask_classes.tolist() == [True, True, True]


def test_the_same_spelling_goes_before_the_same_meaning() -> None:
    names = ("table", "dining table", "plane")
    mapped = map_classes(One(names), names, void=("table",))
    assert mapped.labels.tolist() == [-2, 1, 2]
    assert map_classes(One(names), ("dining table", "table")).labels.tolist() == [1, 0, -1]
    assert map_classes(One(names), ("diningtable", "airplane")).labels.tolist() == [0, 0, 1]


def test_what_the_set_does_not_name_is_not_annotated() -> None:
    sample = map_classes(One(("tv", "truck")), MODEL)[0]
    assert sample.annotated_box_classes.tolist() == sample.annotated_mask_classes.tolist() == [False, False, True]


def test_only_the_named_classes_are_annotated() -> None:
    mapped = map_classes(One(("tv", "person", "plane")), MODEL, annotated=("plane",))
    assert mapped[0].annotated_box_classes.tolist() == [False, True, False]
    assert mapped[0].labels.tolist() == [2, 0, 1]  # an object that was found is one, annotated throughout or not


def test_void_names_count_for_nothing() -> None:
    mapped = map_classes(One(("truck", "tv", "person")), MODEL, void=("truck", "TV monitor"))
    sample = mapped[0]
    assert (mapped.unmapped, mapped.void) == ((), ("truck", "tv"))
    assert sample.labels.tolist() == [ANY_CLASS, ANY_CLASS, 0]
    assert sample.crowd.tolist() == [True, True, True]
    again = map_classes(mapped, ("dog", *MODEL))[0]
    assert again.labels.tolist() == [ANY_CLASS, ANY_CLASS, 1]
    class_map = sample.class_map()
    assert class_map is not None
    assert class_map.tolist() == [[0, 255, 255, 1, 255]]
    assert sample.annotated_box_classes.tolist() == [True, False, False]


@pytest.mark.parametrize(("boxes", "mask"), [(True, False), (False, True), (False, False)])
def test_a_sample_without_a_task_annotates_no_class_of_it(boxes: bool, mask: bool) -> None:
    sample = map_classes(One(("tv", "person"), mask=mask, boxes=boxes), MODEL)[0]
    assert sample.annotated_box_classes.any() == boxes
    assert sample.annotated_mask_classes.any() == mask


def test_mapping_twice_keeps_what_was_annotated() -> None:
    once = map_classes(One(("tv", "person")), MODEL, annotated=("tv",))
    assert map_classes(once, ("tv", "person", "dog"))[0].annotated_box_classes.tolist() == [True, False, False]


def test_mistakes_are_told() -> None:
    with pytest.raises(DataError, match=r"toy: void=bycicle is not one of its classes \(tv, person\)"):
        map_classes(One(("tv", "person")), MODEL, void=("bycicle",))
    with pytest.raises(DataError, match="toy: classes=dog is not one of its classes"):
        map_classes(One(("tv", "person")), MODEL, annotated=("dog",))
    many = tuple(f"c{k}" for k in range(10))
    with pytest.raises(DataError, match=r"none of its classes \(c0, .* and 2 more\) is one of the model's"):
        map_classes(One(many), MODEL)


def test_254_classes_fit_a_map() -> None:
    names = tuple(f"c{k}" for k in range(254))
    class_map = map_classes(One(names), names)[0].class_map()
    assert class_map is not None
    assert class_map.tolist() == [[*range(255), 255]]
