"""Which way each number of a 1x1 kernel is rounded: not to the nearest, but so that its answers change least.

What rounding one number adds to an answer, the numbers not yet rounded can take back as far as their inputs go up and
down together. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, 2023.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from blitznet.core.arrays import Floats
from blitznet.export.activations import Moments
from blitznet.export.kernels import Kernel

_DAMPING = 0.01
"""of the mean second moment, added to each: what images did not show may still come"""
_TOGETHER = 128


def compensated(found: Sequence[Kernel], moments: Mapping[str, Moments]) -> list[Kernel]:
    """The kernels, those of them with moments rounded with what they see in mind.

    moments: by the name of a kernel that is 1x1 in one group, the second moments (I, I) of its input channels.
    """
    return [
        replace(kernel, rounded=_rounded(kernel, moments[kernel.name])) if kernel.name in moments else kernel
        for kernel in found
    ]


def _rounded(kernel: Kernel, moments: Moments) -> Floats:
    """(O, I, 1, 1): one input channel after the other, the strongest first, its error spread over those to come."""
    strong = np.argsort(-np.diag(moments), kind="stable")
    left = np.asarray(kernel.values[:, strong, 0, 0], np.float64)  # (O, I) what is still to be rounded
    limits, scales = _limits(kernel)[:, strong], np.asarray(kernel.scales, np.float64)
    spread = _spread(moments[np.ix_(strong, strong)])
    whole = np.empty_like(left)
    for place in range(left.shape[1]):
        whole[:, place] = np.clip(np.round(left[:, place] / scales), -limits[:, place], limits[:, place])
        error = left[:, place] - whole[:, place] * scales
        left[:, place:] -= error[:, None] / spread[place, place] * spread[place, place:]
    back = np.argsort(strong)
    return np.asarray((whole * scales[:, None])[:, back, None, None], np.float32)


def _limits(kernel: Kernel) -> Floats:
    """(O, I) how far from 0 each number may go in steps, so that no two exceed 128 together (see `kernel_scales`)."""
    steps = np.abs(np.round(kernel.values[:, :, 0, 0] / kernel.scales[:, None]))
    largest = steps.argmax(1)[:, None]  # (O, 1)
    most = np.take_along_axis(steps, largest, 1)
    limits = np.repeat(_TOGETHER - most, steps.shape[1], axis=1)
    np.put_along_axis(limits, largest, most, 1)
    return limits


def _spread(moments: Moments) -> Moments:
    """(I, I) upper triangular: in row i, how the channels after the i-th make up for an error of it."""
    damped = moments + np.eye(len(moments)) * (_DAMPING * np.diag(moments).mean() + np.finfo(np.float32).tiny)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)
