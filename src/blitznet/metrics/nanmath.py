"""Fractions and means of what was measured; nan stands for what was not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blitznet.metrics.matching import Reals


def ratio(part: NDArray[Any], whole: NDArray[Any], empty: float = np.nan) -> Reals:
    """Part / whole, any one shape; `empty` where there is no whole."""
    out = np.full(part.shape, empty, np.float64)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def mean(values: Reals) -> Reals:
    """Mean over the last axis of what is not nan; nan where nothing is left."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0.0).sum(-1, keepdims=True), there.sum(-1, keepdims=True))[..., 0]
