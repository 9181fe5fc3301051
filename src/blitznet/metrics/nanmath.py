"""Ratios and means in which nan marks a value that could not be measured."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics.arrays import Float64Array


def ratio(part: NDArray[Any], whole: NDArray[Any], empty: float = np.nan) -> Float64Array:
    """`part / whole` of two arrays of the same shape; `empty` where `whole` is 0."""
    out = np.full(part.shape, empty, np.float64)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def mean(values: Float64Array) -> Float64Array:
    """Mean over the last axis without nan values; nan where all values are nan."""
    valid = ~np.isnan(values)
    return ratio(np.where(valid, values, 0.0).sum(-1, keepdims=True), valid.sum(-1, keepdims=True))[..., 0]


def none_if_nan(value: float) -> float | None:
    """The value for a report, where None marks what could not be measured."""
    return None if np.isnan(value) else value
