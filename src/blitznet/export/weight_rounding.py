"""Rounding of 1x1 kernels that minimizes the change of their outputs, instead of rounding to nearest.

The error of one rounded weight is compensated by the weights that are not rounded yet, as far as their inputs
correlate. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2023.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from blitznet.core.arrays import Floats
from blitznet.export.activations import Moments
from blitznet.export.kernels import Kernel

_DAMPING = 0.01
"""fraction of the mean second moment that is added to each: other images will vary more than the calibration images"""
_MAX_PAIR_SUM = 128


def round_with_compensation(kernels: Sequence[Kernel], moments: Mapping[str, Moments]) -> list[Kernel]:
    """Round kernels by GPTQ.

    Args:
        kernels: The kernels.
        moments: By the name of a pointwise kernel, the second moments (I, I) of its input channels.

    Returns:
        The kernels; those without moments are unchanged.
    """
    return [
        replace(kernel, rounded=_round_kernel(kernel, moments[kernel.name])) if kernel.name in moments else kernel
        for kernel in kernels
    ]


def _round_kernel(kernel: Kernel, moments: Moments) -> Floats:
    """(O, I, 1, 1): rounds channel after channel, the strongest first, and spreads its error over the rest."""
    order = np.argsort(-np.diag(moments), kind="stable")
    values = np.asarray(kernel.values[:, order, 0, 0], np.float64)  # (O, I) those from the current channel on change
    limits, scales = _integer_limits(kernel)[:, order], np.asarray(kernel.scales, np.float64)
    compensation = _compensation(moments[np.ix_(order, order)])
    integers = np.empty_like(values)
    for channel in range(values.shape[1]):
        integers[:, channel] = np.clip(np.round(values[:, channel] / scales), -limits[:, channel], limits[:, channel])
        error = values[:, channel] - integers[:, channel] * scales
        values[:, channel:] -= error[:, None] / compensation[channel, channel] * compensation[channel, channel:]
    inverse_order = np.argsort(order)
    return np.asarray((integers * scales[:, None])[:, inverse_order, None, None], np.float32)


def _integer_limits(kernel: Kernel) -> Floats:
    """(O, I) largest absolute integer of each weight, so that no two exceed 128 together (see `kernel_scales`)."""
    integers = np.abs(np.round(kernel.values[:, :, 0, 0] / kernel.scales[:, None]))
    largest = integers.argmax(1)[:, None]  # (O, 1)
    maximum = np.take_along_axis(integers, largest, 1)
    limits = np.repeat(_MAX_PAIR_SUM - maximum, integers.shape[1], axis=1)
    np.put_along_axis(limits, largest, maximum, 1)
    return limits


def _compensation(moments: Moments) -> Moments:
    """(I, I) upper triangular: row i holds how the channels after the i-th compensate its error."""
    damped = moments + np.eye(len(moments)) * (_DAMPING * np.diag(moments).mean() + np.finfo(np.float32).tiny)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)
