"""Percent formatting of fractions."""

import math
from collections.abc import Sequence


def percent(value: float | None, *, digits: int = 1, signed: bool = False) -> str:
    """Format a fraction as a percentage without the percent sign: 0.123 -> `12.3`; `-` for None and nan."""
    if value is None or math.isnan(value):
        return "-"
    return f"{100 * value:+.{digits}f}" if signed else f"{100 * value:.{digits}f}"


def percent_with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """Format a fraction as a percentage with the ends of its interval: `50.0 (40.0 to 60.0)`."""
    ends = f" ({percent(interval[0])} to {percent(interval[1])})" if interval and value is not None else ""
    return percent(value) + ends
