import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.core.score_line import Line
from blitznet.metrics.platt import FROM, Platt, fitted


def drawn(line: Line, *, seed: int = 0, count: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    """Scores from FROM up, and things that are right as often as the line tells of them."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(FROM, 1, count).astype(np.float32)
    return score, rng.random(count) < line.told(score)


@pytest.mark.parametrize("line", [Line(), Line(0.6, -0.5), Line(2.0, 0.4)])
def test_what_made_the_scores_wrong_is_found(line: Line) -> None:
    platt = Platt()
    for photo in range(10):
        platt.add(photo, *drawn(line, seed=photo))
    fit = platt.found()
    assert fit is not None
    assert fit.line == pytest.approx(line, rel=0.03, abs=0.03)
    assert fit.error < 0.01
    assert fit.two_fold < 0.015
    assert (fit.plain > 0.05) == (not line.plain)


def test_it_is_the_likeliest() -> None:
    score, right = drawn(Line(0.7, -0.4), count=400)
    logit = np.log(score / (1 - score.astype(np.float64)))

    def unlikely(line: Line) -> float:
        odds = logit / line.temperature + line.shift
        belief = ((1 / line.temperature - 1) ** 2 + line.shift**2) / 2  # of one detection
        return float((np.logaddexp(0, odds) - right * odds).sum() + belief)

    best = fitted(score, right)
    for slope in (-0.02, 0.0, 0.02):
        for shift in (-0.02, 0.0, 0.02):
            other = Line(1 / (1 / best.temperature + slope), best.shift + shift)
            assert unlikely(best) <= unlikely(other) + 1e-6


def test_halves_are_told_by_the_others_line() -> None:
    """Where the halves contradict each other, both lines help on the whole and neither does on the other half."""
    platt = Platt()
    high, low = np.full(100, 0.9, np.float32), np.full(100, 0.4, np.float32)
    for photo in range(2):
        platt.add(photo, high, np.full(100, photo == 0))
        platt.add(photo, low, np.full(100, photo == 0))
    fit = platt.found()
    assert fit is not None
    assert fit.error < 0.35
    assert fit.two_fold > 0.9


@pytest.mark.parametrize("right", [False, True])
def test_all_of_one_kind_stays_finite_and_rising(right: bool) -> None:
    score = np.linspace(0.2, 0.95, 50, dtype=np.float32)
    line = fitted(score, np.full(50, right))
    told = line.told(score)
    assert np.isfinite(told).all()
    assert (np.diff(told) >= 0).all()
    assert (told.mean() > 0.9) if right else (told.mean() < 0.1)


def test_scores_that_say_the_contrary_stay_in_order() -> None:
    score = np.linspace(0.2, 0.95, 200, dtype=np.float32)
    assert (np.diff(fitted(score, score < 0.5).told(score)) >= 0).all()


def test_nothing_and_too_little() -> None:
    platt = Platt()
    assert platt.found() is None
    platt.add(0, np.full(3, 0.05, np.float32), np.ones(3, bool))
    assert platt.found() is None
    platt.add(0, np.full(3, 0.5, np.float32), np.ones(3, bool))
    with pytest.raises(DataError, match="wanted labelled things on several photos, came one"):
        platt.found()
