from itertools import product

import numpy as np
import pytest

from blitznet.core.arrays import Floats
from blitznet.export.activations import Moments
from blitznet.export.kernels import Kernel, kernel_scales, round_to_nearest
from blitznet.export.weight_rounding import round_with_compensation


def make_kernel(values: Floats, *, groups: int = 1) -> Kernel:
    scales = kernel_scales(values)
    return Kernel("kernel", "node", groups, values, scales, round_to_nearest(values, scales))


def random_case(rng: np.random.Generator, outputs: int, inputs: int) -> tuple[Kernel, Moments, Moments]:
    """A 1x1 kernel, correlated activations (n, I), and their second moments (I, I)."""
    values = rng.normal(1, 1, (400, 3)) @ rng.normal(0, 1, (3, inputs)) + rng.normal(0, 0.2, (400, inputs))
    kernel = make_kernel(rng.normal(0, 1, (outputs, inputs, 1, 1)).astype(np.float32))
    activations = np.maximum(values, 0)
    return kernel, activations, activations.T @ activations


def squared_error(kernel: Kernel, activations: Moments) -> float:
    """Sum of the squared output errors from rounding."""
    return float(((activations @ kernel.error[:, :, 0, 0].T) ** 2).sum())


@pytest.mark.parametrize("seed", range(10))
def test_the_error_is_smaller_than_with_rounding_to_nearest(seed: int) -> None:
    kernel, activations, moments = random_case(np.random.default_rng(seed), 8, 24)
    (compensated,) = round_with_compensation([kernel], {"kernel": moments})
    assert squared_error(compensated, activations) < 0.6 * squared_error(kernel, activations)


@pytest.mark.parametrize("seed", range(10))
def test_the_error_is_near_that_of_the_best_rounding(seed: int) -> None:
    kernel, activations, moments = random_case(np.random.default_rng(seed), 1, 8)
    (compensated,) = round_with_compensation([kernel], {"kernel": moments})
    scale = kernel.scales[0]
    floor = np.floor(kernel.values[0, :, 0, 0] / scale)
    roundings = (np.asarray([floor + np.asarray(up) for up in product((0, 1), repeat=8)]) * scale).T  # (I, 256)
    best = float(((activations @ (roundings - kernel.values[0, :, :, 0])) ** 2).sum(0).min())
    assert squared_error(compensated, activations) < 2.5 * best
    assert squared_error(compensated, activations) <= squared_error(kernel, activations)


def test_rounded_weights_are_limited_multiples_of_the_scale() -> None:
    kernel, _, moments = random_case(np.random.default_rng(0), 6, 16)
    (compensated,) = round_with_compensation([kernel], {"kernel": moments})
    steps = compensated.rounded[:, :, 0, 0] / compensated.scales[:, None]
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert np.sort(np.abs(steps), 1)[:, -2:].sum(1).max() <= 128 + 1e-4
    np.testing.assert_array_equal(round_to_nearest(compensated.rounded, compensated.scales), compensated.rounded)


def test_channels_that_are_always_zero() -> None:
    kernel, _, moments = random_case(np.random.default_rng(0), 4, 6)
    moments[:, 2] = moments[2] = 0
    (compensated,) = round_with_compensation([kernel], {"kernel": moments})
    assert np.isfinite(compensated.rounded).all()
    (uncompensated,) = round_with_compensation([kernel], {"kernel": np.zeros((6, 6))})
    np.testing.assert_array_equal(uncompensated.rounded, kernel.rounded)


def test_a_kernel_without_moments_is_unchanged() -> None:
    kernel, _, _ = random_case(np.random.default_rng(0), 2, 3)
    assert round_with_compensation([kernel], {}) == [kernel]


def test_only_1x1_kernels_of_one_group_are_pointwise() -> None:
    assert make_kernel(np.ones((4, 3, 1, 1), np.float32)).pointwise
    assert not make_kernel(np.ones((4, 3, 3, 3), np.float32)).pointwise
    assert not make_kernel(np.ones((4, 1, 1, 1), np.float32), groups=4).pointwise
