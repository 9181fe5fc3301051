from typing import Any

import numpy as np
import pytest

from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from support import synthetic_data


def sample(**fields: Any) -> Sample:
    values: dict[str, Any] = {
        "id": "7",
        "image": ImageSource(np.zeros((4, 6, 3), np.uint8)),
        "boxes": np.zeros((2, 4), np.float32),
        "labels": np.zeros(2, np.int64),
        "difficult": np.zeros(2, np.bool_),
        "crowd": np.zeros(2, np.bool_),
        "box_classes": np.ones(3, np.bool_),
        "mask_classes": np.zeros(3, np.bool_),
    }
    return Sample(**{**values, **fields})


def test_the_mask_is_read_when_it_is_wanted() -> None:
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
def test_arrays_must_agree(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BlitzNetError, match=message):
        sample(**fields)


def test_painted_classes_need_a_mask() -> None:
    with pytest.raises(DataError, match=r"^7: mask classes are given but there is no mask$"):
        sample(mask_classes=np.array([True, False, False]))
