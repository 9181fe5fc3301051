"""Runs of equal values, as masks are sent and stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def run_lengths(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The value and the length (R,) of each run of an array read row by row; neighbours differ."""
    flat = values.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if len(flat) else np.zeros(0, np.int64)
    return flat[starts], np.diff(starts, append=len(flat)).astype(np.int64)
