import numpy as np
import pytest

from blitznet.core.arrays import require_shape
from blitznet.core.errors import BlitzNetError


@pytest.mark.parametrize(
    ("came", "wanted"), [((2, 4), (2, 4)), ((7, 4), (None, 4)), ((0, 4), (None, 4)), ((), ()), ((3,), (None,))]
)
def test_shapes_that_fit(came: tuple[int, ...], wanted: tuple[int | None, ...]) -> None:
    require_shape(np.zeros(came), wanted, name="boxes")


@pytest.mark.parametrize(
    ("came", "wanted", "message"),
    [
        ((2, 5), (None, 4), r"^boxes: wanted shape \(any, 4\), came \(2, 5\)$"),
        ((4,), (None, 4), r"^boxes: wanted shape \(any, 4\), came \(4,\)$"),
        ((2, 4, 1), (None, 4), r"^boxes: wanted shape \(any, 4\), came \(2, 4, 1\)$"),
        ((3,), (2,), r"^boxes: wanted shape \(2\), came \(3,\)$"),
    ],
)
def test_shapes_that_do_not(came: tuple[int, ...], wanted: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(BlitzNetError, match=message):
        require_shape(np.zeros(came), wanted, name="boxes")
