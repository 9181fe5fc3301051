"""Fit of temperature scaling (Guo et al., 2017) to the confidence of pixels.

Calibration bins are accumulated at every temperature of a grid. The temperature with the lowest expected
calibration error is taken. Its benefit is estimated by 2-fold cross-validation over images.
"""

from dataclasses import dataclass, field

import numpy as np

from blitznet.core.errors import DataError
from blitznet.metrics.arrays import Float64Array
from blitznet.metrics.calibration.ece import ECE_BINS, ece_or_worst

TEMPERATURES: tuple[float, ...] = tuple(round(float(value), 3) for value in 2.0 ** (np.arange(-10, 13) / 8))
"""0.42 to 2.83 in steps of 9 %; 1 is one of them"""
IDENTITY_INDEX = TEMPERATURES.index(1.0)
"""index of temperature 1"""


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """Temperature and its effect; errors are expected calibration errors, 0..1."""

    temperature: float
    ece_before: float
    """error at temperature 1"""
    ece_after: float
    """error at the fitted temperature, on the images of the fit"""
    cross_validated_ece: float
    """error of each half of the images at the temperature of the other half"""


@dataclass(eq=False)
class TemperatureFitter:
    """Accumulates calibration bins at every temperature, separately for images with even and odd numbers."""

    bins: Float64Array = field(default_factory=lambda: np.zeros((2, len(TEMPERATURES), 3, ECE_BINS)))
    """(2, T, 3, ECE_BINS) by half of the images and temperature"""

    def update(self, image: int, index: int, bins: Float64Array) -> None:
        """Add an image's bins (3, ECE_BINS) at temperature TEMPERATURES[index]."""
        self.bins[image % 2, index] += bins

    def fit(self) -> TemperatureFit | None:
        """Fit the temperature; None without pixels.

        Raises:
            DataError: One half of the images has no pixels.
        """
        total = self.bins.sum(0)
        if not total[IDENTITY_INDEX, 0].any():
            return None
        if not self.bins[:, :, 0].any((1, 2)).all():
            raise DataError("calibration: expected masks of at least two images, got one; add more images")
        best = _best_index(total)
        held_out = self.bins[0, _best_index(self.bins[1])] + self.bins[1, _best_index(self.bins[0])]
        return TemperatureFit(
            temperature=TEMPERATURES[best],
            ece_before=ece_or_worst(total[IDENTITY_INDEX]),
            ece_after=ece_or_worst(total[best]),
            cross_validated_ece=ece_or_worst(held_out),
        )


def _best_index(bins: Float64Array) -> int:
    """Index of the lowest error of bins (T, 3, ECE_BINS); of equal ones the nearest to temperature 1."""
    return min(range(len(bins)), key=lambda index: (ece_or_worst(bins[index]), abs(index - IDENTITY_INDEX)))
