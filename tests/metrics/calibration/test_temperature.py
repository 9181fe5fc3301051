import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.calibration.ece import calibration_bins
from blitznet.metrics.calibration.temperature import IDENTITY_INDEX, TEMPERATURES, TemperatureFitter


def fitter_of(factor: float, *, seed: int = 0) -> TemperatureFitter:
    """Images with labels sampled from softmax(logits), of a network whose logits are `factor` times as large."""
    rng = np.random.default_rng(seed)
    fitter = TemperatureFitter()
    for image in range(10):
        logits = rng.normal(0, 2, (2000, 5))
        power = np.exp(logits)
        probs = power / power.sum(1, keepdims=True)
        label = (rng.random((2000, 1)) > probs.cumsum(1)).sum(1)
        for index, temperature in enumerate(TEMPERATURES):
            power = np.exp(logits * factor / temperature)
            score = (power / power.sum(1, keepdims=True)).max(1).astype(np.float32)
            fitter.update(image, index, calibration_bins(score, label == logits.argmax(1)))
    return fitter


def test_temperatures_are_a_geometric_grid_with_1() -> None:
    assert TEMPERATURES[IDENTITY_INDEX] == 1
    ratios = np.divide(TEMPERATURES[1:], TEMPERATURES[:-1])
    assert (ratios > 1.08).all()
    assert (ratios < 1.1).all()


@pytest.mark.parametrize("index", [IDENTITY_INDEX - 5, IDENTITY_INDEX, IDENTITY_INDEX + 6])
def test_fitter_recovers_the_temperature(index: int) -> None:
    fit = fitter_of(TEMPERATURES[index]).fit()
    assert fit is not None
    assert abs(TEMPERATURES.index(fit.temperature) - index) <= 1
    assert fit.ece_after < 0.015
    assert fit.ece_after <= fit.cross_validated_ece < 0.02
    assert (fit.ece_before > 0.05) == (index != IDENTITY_INDEX)


def test_fitter_without_pixels_and_with_one_image() -> None:
    fitter = TemperatureFitter()
    assert fitter.fit() is None
    fitter.update(0, IDENTITY_INDEX, calibration_bins(np.full(3, 0.5, np.float32), np.ones(3, bool)))
    with pytest.raises(DataError, match="expected masks of at least two images, got one"):
        fitter.fit()


def test_temperature_without_scores_is_never_the_best() -> None:
    fitter = TemperatureFitter()
    for image in range(2):
        bins = calibration_bins(np.full(4, 0.6, np.float32), np.array([True, True, False, False]))
        fitter.update(image, IDENTITY_INDEX, bins)
    fit = fitter.fit()
    assert fit is not None
    assert fit.temperature == 1.0
    assert fit.ece_after == pytest.approx(0.1)


def test_each_half_is_scored_at_the_temperature_of_the_other_half() -> None:
    """Half of the scores are right: 0.5 is calibrated, 0.9 is not."""
    fitter, half_right = TemperatureFitter(), np.array([True, True, False, False])
    for image, best in ((0, 3), (1, 8)):
        for index in range(len(TEMPERATURES)):
            score = 0.5 if index == best else 0.9
            fitter.update(image, index, calibration_bins(np.full(4, score, np.float32), half_right))
    fit = fitter.fit()
    assert fit is not None
    assert fit.ece_after == pytest.approx(0.2)
    assert fit.cross_validated_ece == pytest.approx(0.4)
