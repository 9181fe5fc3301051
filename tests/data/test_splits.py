"""Names of splits."""

import pytest

from blitznet.data.splits import find_split


@pytest.mark.parametrize(
    ("split", "available", "expected"),
    [
        ("val", ("train", "valid"), "valid"),
        ("train", ("Train", "Test"), "Train"),
        ("VAL", ("train", "Validation"), "Validation"),
        ("train", ("TRAIN", "train"), "train"),
        ("train", ("train2017", "val2017"), "train2017"),
        ("Train", ("train2017",), "train2017"),
        ("day", ("Day",), "Day"),
        ("train", ("val", "day"), None),
        ("", ("train",), None),
    ],
)
def test_find_split(split: str, available: tuple[str, ...], expected: str | None) -> None:
    assert find_split(split, available) == expected
