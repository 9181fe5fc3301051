import numpy as np
import pytest

from blitznet.core.calibration import PlattScaling
from blitznet.core.errors import DataError
from blitznet.metrics.calibration.platt import FROM, Platt, fitted


def drawn(line: PlattScaling, *, seed: int = 0, count: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Scores from FROM up, and things that are right as often as the line tells of them."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(FROM, 1, count).astype(np.float32)
    return score, rng.random(count) < line.apply(score)


@pytest.mark.parametrize("line", [PlattScaling(), PlattScaling(0.6, -0.5), PlattScaling(2.0, 0.4)])
def test_what_made_the_scores_wrong_is_found(line: PlattScaling) -> None:
    platt = Platt()
    for image in range(10):
        platt.add(image, *drawn(line, seed=image))
    fit = platt.found()
    assert fit is not None
    assert fit.line == pytest.approx(line, rel=0.03, abs=0.03)
    assert fit.error < 0.01
    assert fit.two_fold < 0.015
    assert (fit.plain > 0.05) == (not line.is_identity)


def test_it_is_the_likeliest() -> None:
    score, right = drawn(PlattScaling(0.7, -0.4), count=400)
    logit = np.log(score / (1 - score.astype(np.float64)))

    def unlikely(line: PlattScaling) -> float:
        odds = logit / line.temperature + line.bias
        belief = ((1 / line.temperature - 1) ** 2 + line.bias**2) / 2  # of one detection
        return float((np.logaddexp(0, odds) - right * odds).sum() + belief)

    best = fitted(score, right)
    for slope in (-0.02, 0.0, 0.02):
        for shift in (-0.02, 0.0, 0.02):
            other = PlattScaling(1 / (1 / best.temperature + slope), best.bias + shift)
            assert unlikely(best) <= unlikely(other) + 1e-6


def test_halves_are_told_by_the_others_line() -> None:
    """Where the halves contradict each other, both lines help on the whole and neither does on the other half."""
    platt = Platt()
    high, low = np.full(100, 0.9, np.float32), np.full(100, 0.4, np.float32)
    for image in range(2):
        platt.add(image, high, np.full(100, image == 0))
        platt.add(image, low, np.full(100, image == 0))
    fit = platt.found()
    assert fit is not None
    assert fit.error < 0.35
    assert fit.two_fold > 0.9


@pytest.mark.parametrize("right", [False, True])
def test_all_of_one_kind_stays_finite_and_rising(right: bool) -> None:
    score = np.linspace(0.2, 0.95, 50, dtype=np.float32)
    line = fitted(score, np.full(50, right))
    told = line.apply(score)
    assert np.isfinite(told).all()
    assert (np.diff(told) >= 0).all()
    assert (told.mean() > 0.9) if right else (told.mean() < 0.1)


def test_scores_that_say_the_contrary_stay_in_order() -> None:
    score = np.linspace(0.2, 0.95, 200, dtype=np.float32)
    assert (np.diff(fitted(score, score < 0.5).apply(score)) >= 0).all()


def test_nothing_and_too_little() -> None:
    platt = Platt()
    assert platt.found() is None
    platt.add(0, np.full(3, 0.05, np.float32), np.ones(3, bool))
    assert platt.found() is None
    platt.add(0, np.full(3, 0.5, np.float32), np.ones(3, bool))
    with pytest.raises(DataError, match="expected labelled things on several images, got one"):
        platt.found()
