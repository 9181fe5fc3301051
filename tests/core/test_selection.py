import pytest

from blitznet.core.selection import evenly_spaced


@pytest.mark.parametrize(
    ("length", "count", "indices"),
    [(10, 3, [0, 3, 6]), (3, 10, [0, 1, 2]), (4, 4, [0, 1, 2, 3]), (5, 1, [0]), (0, 3, []), (5, 0, [])],
)
def test_evenly_spaced(length: int, count: int, indices: list[int]) -> None:
    assert evenly_spaced(length, count) == indices
