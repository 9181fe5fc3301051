import numpy as np
import pytest

from blitznet.core.errors import DataError
from blitznet.metrics.calibration.ece import bins
from blitznet.metrics.calibration.temperature import PLAIN, TEMPERATURES, Search


def searched(sharpness: float, *, seed: int = 0) -> Search:
    """Images whose labels are drawn from softmax(logits), of a network that answers logits times `sharpness`."""
    rng = np.random.default_rng(seed)
    search = Search()
    for image in range(10):
        logits = rng.normal(0, 2, (2000, 5))
        power = np.exp(logits)
        chance = power / power.sum(1, keepdims=True)
        label = (rng.random((2000, 1)) > chance.cumsum(1)).sum(1)
        for place, temperature in enumerate(TEMPERATURES):
            said = np.exp(logits * sharpness / temperature)
            score = (said / said.sum(1, keepdims=True)).max(1).astype(np.float32)
            search.add(image, place, bins(score, label == logits.argmax(1)))
    return search


def test_the_grid() -> None:
    assert TEMPERATURES[PLAIN] == 1
    ratios = np.divide(TEMPERATURES[1:], TEMPERATURES[:-1])
    assert (ratios > 1.08).all()
    assert (ratios < 1.1).all()


@pytest.mark.parametrize("place", [PLAIN - 5, PLAIN, PLAIN + 6])
def test_what_made_the_scores_wrong_is_found(place: int) -> None:
    found = searched(TEMPERATURES[place]).found()
    assert found is not None
    assert abs(TEMPERATURES.index(found.temperature) - place) <= 1
    assert found.error < 0.015
    assert found.error <= found.two_fold < 0.02
    assert (found.plain > 0.05) == (place != PLAIN)


def test_nothing_and_too_little() -> None:
    search = Search()
    assert search.found() is None
    search.add(0, PLAIN, bins(np.full(3, 0.5, np.float32), np.ones(3, bool)))
    with pytest.raises(DataError, match="expected labelled things on several images, got one"):
        search.found()


def test_scores_that_all_fall_out_are_not_a_success() -> None:
    """At a temperature where no score is left there is no error to see; it is the worst, not the best."""
    search = Search()
    for image in range(2):
        search.add(image, PLAIN, bins(np.full(4, 0.6, np.float32), np.array([True, True, False, False])))
    found = search.found()
    assert found is not None
    assert found.temperature == 1.0
    assert found.error == pytest.approx(0.1)
