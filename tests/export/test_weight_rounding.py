from itertools import product

import numpy as np
import pytest

from blitznet.core.arrays import Floats
from blitznet.export.activations import Moments
from blitznet.export.kernels import Kernel, kernel_scales, nearest
from blitznet.export.weight_rounding import compensated


def kernel(values: Floats, *, groups: int = 1) -> Kernel:
    scales = kernel_scales(values)
    return Kernel("kernel", "node", groups, values, scales, nearest(values, scales))


def drawn(rng: np.random.Generator, outputs: int, inputs: int) -> tuple[Kernel, Moments, Moments]:
    """A 1x1 kernel, inputs (n, I) that go up and down together, and their second moments (I, I)."""
    seen = rng.normal(1, 1, (400, 3)) @ rng.normal(0, 1, (3, inputs)) + rng.normal(0, 0.2, (400, inputs))
    values = rng.normal(0, 1, (outputs, inputs, 1, 1)).astype(np.float32)
    return kernel(values), np.maximum(seen, 0), np.maximum(seen, 0).T @ np.maximum(seen, 0)


def squared(one: Kernel, seen: Moments) -> float:
    """What rounding adds to the answers, squared and summed."""
    return float(((seen @ one.error[:, :, 0, 0].T) ** 2).sum())


@pytest.mark.parametrize("seed", range(10))
def test_answers_change_less_than_by_rounding_to_the_nearest(seed: int) -> None:
    one, seen, moments = drawn(np.random.default_rng(seed), 8, 24)
    (better,) = compensated([one], {"kernel": moments})
    assert squared(better, seen) < 0.6 * squared(one, seen)


@pytest.mark.parametrize("seed", range(10))
def test_near_the_best_of_all_roundings(seed: int) -> None:
    one, seen, moments = drawn(np.random.default_rng(seed), 1, 8)
    (better,) = compensated([one], {"kernel": moments})
    scale = one.scales[0]
    below = np.floor(one.values[0, :, 0, 0] / scale)
    every = (np.asarray([below + np.asarray(up) for up in product((0, 1), repeat=8)]) * scale).T  # (I, 256)
    best = float(((seen @ (every - one.values[0, :, :, 0])) ** 2).sum(0).min())
    assert squared(better, seen) < 2.5 * best
    assert squared(better, seen) <= squared(one, seen)


def test_each_number_is_a_byte_times_its_scale() -> None:
    one, _, moments = drawn(np.random.default_rng(0), 6, 16)
    (better,) = compensated([one], {"kernel": moments})
    steps = better.rounded[:, :, 0, 0] / better.scales[:, None]
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert np.sort(np.abs(steps), 1)[:, -2:].sum(1).max() <= 128 + 1e-4
    np.testing.assert_array_equal(nearest(better.rounded, better.scales), better.rounded)  # rounds to itself again


def test_inputs_that_are_never_there_do_no_harm() -> None:
    one, _, moments = drawn(np.random.default_rng(0), 4, 6)
    moments[:, 2] = moments[2] = 0
    (better,) = compensated([one], {"kernel": moments})
    assert np.isfinite(better.rounded).all()
    (unseen,) = compensated([one], {"kernel": np.zeros((6, 6))})
    np.testing.assert_array_equal(unseen.rounded, one.rounded)  # nothing is known: to the nearest


def test_a_kernel_without_moments_stays() -> None:
    one, _, _ = drawn(np.random.default_rng(0), 2, 3)
    assert compensated([one], {}) == [one]


def test_only_a_matrix_is_pointwise() -> None:
    assert kernel(np.ones((4, 3, 1, 1), np.float32)).pointwise
    assert not kernel(np.ones((4, 3, 3, 3), np.float32)).pointwise
    assert not kernel(np.ones((4, 1, 1, 1), np.float32), groups=4).pointwise
