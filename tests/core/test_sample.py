from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample, Subset
from support import synthetic_data


def sample(**fields: Any) -> Sample:
    values: dict[str, Any] = {
        "id": "7",
        "image": ImageSource(np.zeros((4, 6, 3), np.uint8)),
        "boxes": np.zeros((2, 4), np.float32),
        "labels": np.zeros(2, np.int64),
        "difficult": np.zeros(2, np.bool_),
        "crowd": np.zeros(2, np.bool_),
        "annotated_box_classes": np.ones(3, np.bool_),
        "annotated_mask_classes": np.zeros(3, np.bool_),
    }
    return Sample(**{**values, **fields})


def test_class_map_is_read_on_demand() -> None:
    drawing = synthetic_data.draw(1)[0]
    read = drawing.sample.class_map()
    assert read is not None
    np.testing.assert_array_equal(read, drawing.class_map)
    assert sample().class_map() is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": np.zeros((1, 4), np.float32)}, r"^7: boxes: expected shape \(2, 4\), got \(1, 4\)$"),
        ({"difficult": np.zeros(3, np.bool_)}, r"^7: difficult: expected shape \(2\), got \(3,\)$"),
        ({"crowd": np.zeros((2, 1), np.bool_)}, r"^7: crowd: expected shape \(2\), got \(2, 1\)$"),
    ],
)
def test_arrays_must_have_one_length(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BlitzNetError, match=message):
        sample(**fields)


def test_annotated_mask_classes_need_a_mask() -> None:
    with pytest.raises(DataError, match=r"^7: expected a mask because mask classes are annotated, got none$"):
        sample(annotated_mask_classes=np.array([True, False, False]))


def test_subset_selects_samples_in_order() -> None:
    class Numbers:
        title, class_names, ids = "numbers", ("cat", "dog", "person"), ("a", "b", "c")

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int, /) -> Sample:
            return sample(id=self.ids[index])

    subset = Subset(Numbers(), (2, 0))
    assert (subset.title, subset.class_names, len(subset)) == ("numbers", ("cat", "dog", "person"), 2)
    assert list(subset.ids) == [subset[0].id, subset[1].id] == ["c", "a"]
    assert Subset(subset, (1,))[0].id == "a"
