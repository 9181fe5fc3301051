"""Mapping of class names."""

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
class SingleSample:
    """A Dataset of one sample: an object of each class, the last one a crowd, and maybe an inverted box."""

    class_names: tuple[str, ...]
    mask: bool = True
    boxes: bool = True
    inverted: bool = False
    title: str = "toy"

    @property
    def ids(self) -> tuple[str, ...]:
        return ("sample",)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        count = len(self.class_names)
        rows = [(k, 0, k + 1, 1) for k in range(count)] if self.boxes else []
        labels = list(range(count)) if self.boxes else []
        if self.inverted:
            rows, labels = [*rows, (5, 5, 5, 9)], [*labels, 0]
        return Sample(
            id="sample",
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


def test_class_names_match_in_any_spelling() -> None:
    mapped = map_classes(SingleSample(("Airplane", "truck", "TV", "pedestrian")), MODEL)
    sample = mapped[0]
    assert mapped.class_names == MODEL
    assert (mapped.unmapped, mapped.ignored) == (("truck",), ())
    assert sample.labels.tolist() == [1, 2, 0]  # the truck is background
    assert sample.boxes[:, 0].tolist() == [0, 2, 3]
    assert sample.crowd.tolist() == [False, False, True]
    class_map = sample.class_map()
    assert class_map is not None
    assert class_map.tolist() == [[0, 2, 0, 3, 1, 255]]
    assert sample.annotated_box_classes.tolist() == sample.annotated_mask_classes.tolist() == [True, True, True]


def test_boxes_without_an_area_are_dropped_and_their_class_is_not_complete() -> None:
    """Training would learn that there is nothing where their object is."""
    sample = map_classes(SingleSample(("Airplane", "person"), inverted=True), MODEL)[0]
    assert sample.labels.tolist() == [1, 0]
    assert sample.annotated_box_classes.tolist() == [True, False, False]


def test_exact_names_precede_canonical_names() -> None:
    names = ("table", "dining table", "plane")
    mapped = map_classes(SingleSample(names), names, ignore=("table",))
    assert mapped.label_map.tolist() == [-2, 1, 2]
    assert map_classes(SingleSample(names), ("dining table", "table")).label_map.tolist() == [1, 0, -1]
    assert map_classes(SingleSample(names), ("diningtable", "airplane")).label_map.tolist() == [0, 0, 1]


def test_classes_that_the_dataset_lacks_are_not_annotated() -> None:
    sample = map_classes(SingleSample(("tv", "truck")), MODEL)[0]
    assert sample.annotated_box_classes.tolist() == sample.annotated_mask_classes.tolist() == [False, False, True]


def test_annotated_option_limits_the_annotated_classes() -> None:
    mapped = map_classes(SingleSample(("tv", "person", "plane")), MODEL, annotated=("plane",))
    assert mapped[0].annotated_box_classes.tolist() == [False, True, False]
    assert mapped[0].labels.tolist() == [2, 0, 1]  # objects of other classes are kept


def test_ignored_classes_become_crowds_of_any_class() -> None:
    mapped = map_classes(SingleSample(("truck", "tv", "person")), MODEL, ignore=("truck", "TV monitor"))
    sample = mapped[0]
    assert (mapped.unmapped, mapped.ignored) == ((), ("truck", "tv"))
    assert sample.labels.tolist() == [ANY_CLASS, ANY_CLASS, 0]
    assert sample.crowd.tolist() == [True, True, True]
    remapped = map_classes(mapped, ("dog", *MODEL))[0]
    assert remapped.labels.tolist() == [ANY_CLASS, ANY_CLASS, 1]
    class_map = sample.class_map()
    assert class_map is not None
    assert class_map.tolist() == [[0, 255, 255, 1, 255]]
    assert sample.annotated_box_classes.tolist() == [True, False, False]


@pytest.mark.parametrize(("boxes", "mask"), [(True, False), (False, True), (False, False)])
def test_samples_without_boxes_or_mask_annotate_no_class_of_them(boxes: bool, mask: bool) -> None:
    sample = map_classes(SingleSample(("tv", "person"), mask=mask, boxes=boxes), MODEL)[0]
    assert sample.annotated_box_classes.any() == boxes
    assert sample.annotated_mask_classes.any() == mask


def test_mapping_twice_keeps_the_annotated_classes() -> None:
    mapped = map_classes(SingleSample(("tv", "person")), MODEL, annotated=("tv",))
    assert map_classes(mapped, ("tv", "person", "dog"))[0].annotated_box_classes.tolist() == [True, False, False]


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"toy: ignore: expected classes of the dataset \(tv, person\), got bycicle"):
        map_classes(SingleSample(("tv", "person")), MODEL, ignore=("bycicle",))
    with pytest.raises(DataError, match=r"toy: annotated: expected classes of the dataset .* got dog"):
        map_classes(SingleSample(("tv", "person")), MODEL, annotated=("dog",))
    many = tuple(f"c{k}" for k in range(10))
    with pytest.raises(DataError, match=r"expected a class of the model \(person, .*\), got c0, .* and 2 more"):
        map_classes(SingleSample(many), MODEL)


def test_a_class_map_holds_254_classes() -> None:
    names = tuple(f"c{k}" for k in range(254))
    class_map = map_classes(SingleSample(names), names)[0].class_map()
    assert class_map is not None
    assert class_map.tolist() == [[*range(255), 255]]
