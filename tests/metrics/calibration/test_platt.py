import numpy as np
import pytest

from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import DataError
from blitznet.metrics.calibration.platt import FIT_MIN_SCORE, PlattFitter, fit_platt


def miscalibrated(scaling: PlattScaling, *, seed: int = 0, count: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Scores from FIT_MIN_SCORE to 1, and outcomes for which `scaling` is the right calibration."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(FIT_MIN_SCORE, 1, count).astype(np.float32)
    return scores, rng.random(count) < scaling.apply(scores)


@pytest.mark.parametrize("scaling", [PlattScaling(), PlattScaling(0.6, -0.5), PlattScaling(2.0, 0.4)])
def test_fitter_recovers_the_scaling(scaling: PlattScaling) -> None:
    fitter = PlattFitter()
    for image in range(10):
        fitter.update(image, *miscalibrated(scaling, seed=image))
    fit = fitter.fit()
    assert fit is not None
    assert fit.scaling.temperature == pytest.approx(scaling.temperature, rel=0.03, abs=0.03)
    assert fit.scaling.bias == pytest.approx(scaling.bias, rel=0.03, abs=0.03)
    assert fit.ece_after < 0.01
    assert fit.cross_validated_ece < 0.015
    assert (fit.ece_before > 0.05) == (not scaling.is_identity)


def test_fit_has_maximum_likelihood() -> None:
    scores, correct = miscalibrated(PlattScaling(0.7, -0.4), count=400)
    logits = np.log(scores / (1 - scores.astype(np.float64)))

    def loss(scaling: PlattScaling) -> float:
        scaled = logits / scaling.temperature + scaling.bias
        prior = ((1 / scaling.temperature - 1) ** 2 + scaling.bias**2) / 2  # with the weight of one detection
        return float((np.logaddexp(0, scaled) - correct * scaled).sum() + prior)

    best = fit_platt(scores, correct)
    for slope in (-0.02, 0.0, 0.02):
        for bias in (-0.02, 0.0, 0.02):
            nearby = PlattScaling(1 / (1 / best.temperature + slope), best.bias + bias)
            assert loss(best) <= loss(nearby) + 1e-6


def test_cross_validated_ece_is_high_if_the_halves_contradict_each_other() -> None:
    fitter = PlattFitter()
    high, low = np.full(100, 0.9, np.float32), np.full(100, 0.4, np.float32)
    for image in range(2):
        fitter.update(image, high, np.full(100, image == 0))
        fitter.update(image, low, np.full(100, image == 0))
    fit = fitter.fit()
    assert fit is not None
    assert fit.ece_after < 0.35
    assert fit.cross_validated_ece > 0.9


@pytest.mark.parametrize("correct", [False, True])
def test_fit_of_equal_outcomes_is_finite_and_monotonic(correct: bool) -> None:
    scores = np.linspace(0.2, 0.95, 50, dtype=np.float32)
    calibrated = fit_platt(scores, np.full(50, correct)).apply(scores)
    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated) >= 0).all()
    assert (calibrated.mean() > 0.9) if correct else (calibrated.mean() < 0.1)


def test_fit_of_reversed_outcomes_keeps_the_order() -> None:
    scores = np.linspace(0.2, 0.95, 200, dtype=np.float32)
    assert (np.diff(fit_platt(scores, scores < 0.5).apply(scores)) >= 0).all()


def test_fitter_without_detections_and_with_one_image() -> None:
    fitter = PlattFitter()
    assert fitter.fit() is None
    fitter.update(0, np.full(3, 0.05, np.float32), np.ones(3, bool))
    assert fitter.fit() is None
    fitter.update(0, np.full(3, 0.5, np.float32), np.ones(3, bool))
    with pytest.raises(DataError, match="expected labeled objects in at least two images, got one"):
        fitter.fit()
