import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.rle import decode_rle, encode_rle, run_lengths

MAPS = [
    np.array([[0, 0, 1], [1, 1, 2]], np.uint8),
    np.full((2, 3), 255, np.uint8),
    np.arange(12).reshape(3, 4),
    np.zeros((1, 1), np.uint16),
    np.random.default_rng(0).integers(0, 2, (30, 41)),
]


@pytest.mark.parametrize("values", [*MAPS, np.array([True, False, False]), np.zeros((0, 4), np.int64)])
def test_run_lengths_are_complete_and_minimal(values: NDArray[Any]) -> None:
    run_values, lengths = run_lengths(values)
    np.testing.assert_array_equal(np.repeat(run_values, lengths).reshape(values.shape), values)
    assert (run_values[1:] != run_values[:-1]).all()
    assert (lengths > 0).all()


@pytest.mark.parametrize("label_map", MAPS)
def test_decode_rle_inverts_encode_rle(label_map: NDArray[Any]) -> None:
    rle = json.loads(json.dumps(encode_rle(label_map)))
    assert rle["order"] == "row-major"
    assert rle["size"] == list(label_map.shape)
    np.testing.assert_array_equal(decode_rle(rle), label_map)
