"""Percent formatting of fractions."""

import math
from collections.abc import Sequence


def percent(value: float | None, *, digits: int = 1, signed: bool = False) -> str:
    """A fraction as percent without the sign: `12.3` of 0.123; `-` for None and nan."""
    if value is None or math.isnan(value):
        return "-"
    return f"{100 * value:+.{digits}f}" if signed else f"{100 * value:.{digits}f}"


def percent_with_margin(value: float | None, interval: Sequence[float] | None) -> str:
    """Percent, and half of the interval's width: `60.0 ±10.0`."""
    margin = f" ±{50 * (interval[1] - interval[0]):.1f}" if interval and value is not None else ""
    return percent(value) + margin


def percent_with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """Percent, and the ends of the interval: `50.0 (40.0 to 60.0)`."""
    ends = f" ({percent(interval[0])} to {percent(interval[1])})" if interval and value is not None else ""
    return percent(value) + ends
