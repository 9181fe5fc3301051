import numpy as np
import pytest

from blitznet.core.arrays import require_shape
from blitznet.core.errors import BlitzNetError


@pytest.mark.parametrize(
    ("actual", "expected"), [((2, 4), (2, 4)), ((7, 4), (None, 4)), ((0, 4), (None, 4)), ((), ()), ((3,), (None,))]
)
def test_require_shape_accepts(actual: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    require_shape(np.zeros(actual), expected, name="boxes")


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        ((2, 5), (None, 4), r"^boxes: expected shape \(any, 4\), got \(2, 5\)$"),
        ((4,), (None, 4), r"^boxes: expected shape \(any, 4\), got \(4,\)$"),
        ((2, 4, 1), (None, 4), r"^boxes: expected shape \(any, 4\), got \(2, 4, 1\)$"),
        ((3,), (2,), r"^boxes: expected shape \(2\), got \(3,\)$"),
    ],
)
def test_require_shape_rejects(actual: tuple[int, ...], expected: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(BlitzNetError, match=message):
        require_shape(np.zeros(actual), expected, name="boxes")
