import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.metrics.bootstrap import draws, interval, intervals, once, paired
from blitznet.metrics.evidence import Collector, Evidence
from metrics.cases import NAMES, drawn


def evidence(photos: int, seed: int = 0) -> Evidence:
    rng, collector = np.random.default_rng(seed), Collector(NAMES)
    for n in range(photos):
        collector.update(*drawn(rng, f"{n}"))
    return collector.evidence()


def test_draws_take_as_many_photos_as_there_are() -> None:
    weights = np.concatenate(list(draws(7, 40, seed=1)))
    assert weights.shape == (40, 7)
    assert (weights.sum(1) == 7).all()
    assert weights.tolist() == np.concatenate(list(draws(7, 40, seed=1))).tolist()
    assert weights.tolist() != np.concatenate(list(draws(7, 40, seed=2))).tolist()


def test_interval_holds_the_figure_and_shrinks_with_more_photos() -> None:
    widths = []
    for photos in (30, 300):
        proof = evidence(photos)
        ends = intervals(proof.statistics, proof.photos, 60)
        for name, value in proof.statistics(once(photos)).items():
            assert ends[name][0] <= value[0] <= ends[name][1], name
        widths.append(ends["ap50_area"][1] - ends["ap50_area"][0])
    assert widths[1] < widths[0] / 2


def test_what_cannot_be_measured_has_no_interval() -> None:
    assert interval(np.array([np.nan, np.nan])) is None
    assert interval(np.array([0.5, np.nan])) == (0.5, 0.5)
    few = evidence(3)
    assert set(intervals(few.statistics, few.photos, 5)) == {"ap50_area", "miou"}
    assert intervals(few.statistics, 0, 5) == {}


def test_difference_with_itself_is_nothing() -> None:
    proof = evidence(30)
    differences = paired(proof.statistics, proof.statistics, proof.photos, 20)
    assert set(differences) == {"ap50_area", "ap50_pooled", "miou"}
    for difference in differences.values():
        assert difference.difference == 0.0
        assert difference.interval == (0.0, 0.0)


def test_no_rounds() -> None:
    with pytest.raises(UsageError, match="wanted 1 round or more, came 0"):
        next(draws(3, 0, seed=0))
