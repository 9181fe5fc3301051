import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.metrics.bootstrap import Drawn, draws, interval, intervals, once, over_runs, paired
from blitznet.metrics.evidence import Collector, EvaluationState
from support.metric_cases import NAMES, drawn


def evidence(images: int, seed: int = 0) -> EvaluationState:
    rng, collector = np.random.default_rng(seed), Collector(NAMES)
    for n in range(images):
        collector.update(*drawn(rng, f"{n}"))
    return collector.evidence()


def test_draws_take_as_many_images_as_there_are() -> None:
    weights = np.concatenate(list(draws(7, 40, seed=1)))
    assert weights.shape == (40, 7)
    assert (weights.sum(1) == 7).all()
    assert weights.tolist() == np.concatenate(list(draws(7, 40, seed=1))).tolist()
    assert weights.tolist() != np.concatenate(list(draws(7, 40, seed=2))).tolist()


def test_interval_holds_the_figure_and_shrinks_with_more_images() -> None:
    widths = []
    for images in (30, 300):
        proof = evidence(images)
        ends = intervals(proof.statistics, proof.images, 60)
        for name, value in proof.statistics(once(images)).items():
            assert ends[name][0] <= value[0] <= ends[name][1], name
        widths.append(ends["ap50_area"][1] - ends["ap50_area"][0])
    assert widths[1] < widths[0] / 2


def test_what_cannot_be_measured_has_no_interval() -> None:
    assert interval(np.array([np.nan, np.nan])) is None
    assert interval(np.array([0.5, np.nan])) == (0.5, 0.5)
    few = evidence(3)
    assert set(intervals(few.statistics, few.images, 5)) == {"ap50_area", "miou"}
    assert intervals(few.statistics, 0, 5) == {}


def test_difference_with_itself_is_nothing() -> None:
    proof = evidence(30)
    differences = paired(proof.statistics, proof.statistics, proof.images, 20)
    assert set(differences) == {"ap50_area", "ap50_pooled", "miou"}
    for difference in differences.values():
        assert difference.difference == 0.0
        assert difference.interval == (0.0, 0.0)


def test_one_run_has_its_own_interval() -> None:
    ahead = np.random.default_rng(0).normal(0.02, 0.01, 200)
    found = over_runs([Drawn(0.5, 0.52, ahead)])
    assert found.interval == interval(ahead)
    assert found.difference == pytest.approx(0.02)


def test_runs_that_disagree_count_as_chance() -> None:
    """Against sums drawn one by one, and against runs that agree."""
    rng = np.random.default_rng(1)
    images, rounds = rng.normal(0, 0.01, 4000), 4000
    apart = [Drawn(0.5, 0.5 + lead, images + lead) for lead in (0.0, 0.03, 0.06)]
    slow = [sum(apart[rng.integers(3)].differences[n] for _ in range(3)) / 3 for n in range(rounds)]
    found = over_runs(apart)
    assert found.difference == pytest.approx(0.03)
    assert found.interval == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])), abs=3e-3)
    alike = over_runs([Drawn(0.5, 0.53, images + 0.03)] * 3).interval
    assert found.interval[0] < alike[0] < alike[1] < found.interval[1]


def test_no_rounds() -> None:
    with pytest.raises(UsageError, match="expected 1 round or more, got 0"):
        next(draws(3, 0, seed=0))
