"""Confidence of the class map: the maximum softmax probability of each pixel, at the size of the image."""

import numpy as np

from blitznet.core.arrays import Floats, Size
from blitznet.postprocess.bilinear import source_indices

_CHUNK_VALUES = 1 << 21
"""maximum number of values computed at once, which limits the memory"""


def pixel_confidence(logits: Floats, size: Size, temperature: float) -> Floats:
    """Probability of the class that `upsample_argmax` gives each pixel.

    All classes are computed for every pixel, which takes many times as long as `upsample_argmax`.

    Args:
        logits: (C, h, w) segmentation logits, background first.
        size: (H, W) of the image.
        temperature: Logits are divided by it before the softmax (temperature scaling).

    Returns:
        (H, W) float32, 0..1.
    """
    rows, columns = source_indices(logits.shape[1], size[0]), source_indices(logits.shape[2], size[1])
    scaled = logits / np.float32(temperature)
    low, high = scaled[:, :, columns.low], scaled[:, :, columns.high]
    resized = low + (high - low) * columns.weight  # (C, h, W)
    confidence = np.empty(size, np.float32)
    step = max(1, _CHUNK_VALUES // (len(logits) * size[1]))
    for start in range(0, size[0], step):
        chunk = slice(start, start + step)
        values = resized[:, rows.high[chunk]] - resized[:, rows.low[chunk]]  # (C, r, W)
        values *= rows.weight[chunk, None]
        values += resized[:, rows.low[chunk]]
        values -= values.max(0)
        confidence[chunk] = 1 / np.exp(values, out=values).sum(0)  # the maximum's own exponential is exp(0) = 1
    return confidence
