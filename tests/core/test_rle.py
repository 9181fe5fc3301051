from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.rle import run_lengths


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 0, 1], [1, 1, 2]], np.uint8),
        np.full((2, 3), 255, np.uint8),
        np.array([True, False, False]),
        np.arange(12).reshape(3, 4),
        np.zeros((0, 4), np.int64),
        np.random.default_rng(0).integers(0, 2, (30, 41)),
    ],
)
def test_runs_say_all_and_no_more(values: NDArray[Any]) -> None:
    told, lengths = run_lengths(values)
    np.testing.assert_array_equal(np.repeat(told, lengths).reshape(values.shape), values)
    assert (told[1:] != told[:-1]).all()
    assert (lengths > 0).all()
