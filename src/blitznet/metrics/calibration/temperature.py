"""The temperature at which painted pixels are as certain as they say (Guo et al., 2017), found on labelled images.

Of each image the bins of `calibration.py` are counted at every temperature of a grid. The one of the least expected
calibration error is taken; what it is worth is told by two halves of the images, each at the other's temperature.
"""

from dataclasses import dataclass, field

import numpy as np

from blitznet.core.errors import DataError
from blitznet.metrics.calibration.ece import BINS, error_or_all
from blitznet.metrics.matching import Reals

TEMPERATURES: tuple[float, ...] = tuple(round(float(value), 3) for value in 2.0 ** (np.arange(-10, 13) / 8))
"""0.42 to 2.83, each a twelfth above the one before; 1 is among them"""
PLAIN = TEMPERATURES.index(1.0)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found; errors are expected calibration errors, 0..1."""

    temperature: float
    plain: float
    """error at temperature 1"""
    error: float
    """error at the temperature found, on the images it was found on"""
    two_fold: float
    """error of each half of the images at the temperature found on the other half"""


@dataclass(eq=False)
class Search:
    """The bins at every temperature, of every other image apart."""

    tables: Reals = field(default_factory=lambda: np.zeros((2, len(TEMPERATURES), 3, BINS)))
    """(2, T, 3, BINS)"""

    def add(self, image: int, temperature: int, bins: Reals) -> None:
        """Add a image's bins (3, BINS) at the temperature of this place."""
        self.tables[image % 2, temperature] += bins

    def found(self) -> Found | None:
        """The best temperature; None where nothing was counted. Raises DataError where half the images have nothing."""
        whole = self.tables.sum(0)
        if not whole[PLAIN, 0].any():
            return None
        if not self.tables[:, :, 0].any((1, 2)).all():
            raise DataError("calibration: expected labelled things on several images, got one; give more images")
        best = _best(whole)
        crossed = self.tables[0, _best(self.tables[1])] + self.tables[1, _best(self.tables[0])]
        return Found(TEMPERATURES[best], error_or_all(whole[PLAIN]), error_or_all(whole[best]), error_or_all(crossed))


def _best(tables: Reals) -> int:
    """Place of the least error among (T, 3, BINS); of equals the one nearest to 1."""
    return min(range(len(tables)), key=lambda place: (error_or_all(tables[place]), abs(place - PLAIN)))
