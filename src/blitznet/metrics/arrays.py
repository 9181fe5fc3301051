"""Array types of the metrics.

Further one-letter sizes: N images of a set, Q detections and T objects over all of them, R bootstrap rounds.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Int64Array: TypeAlias = NDArray[np.int64]
"""any shape, int64; the docstring gives the legend"""
Float64Array: TypeAlias = NDArray[np.float64]
"""any shape, float64; the docstring gives the legend"""
