import numpy as np
import pytest

from blitznet.core.errors import UsageError
from blitznet.metrics.bootstrap import (
    PairedBootstrap,
    confidence_interval,
    confidence_intervals,
    mean_difference,
    paired_differences,
    resample,
    unit_weights,
)
from blitznet.metrics.state import EvaluationState
from support.metric_cases import random_case, state_of


def random_state(images: int) -> EvaluationState:
    rng = np.random.default_rng(0)
    return state_of([random_case(rng, f"{n}") for n in range(images)])


def test_resample_draws_as_many_images_as_there_are() -> None:
    weights = np.concatenate(list(resample(7, 40, seed=1)))
    assert weights.shape == (40, 7)
    assert (weights.sum(1) == 7).all()
    assert weights.tolist() == np.concatenate(list(resample(7, 40, seed=1))).tolist()
    assert weights.tolist() != np.concatenate(list(resample(7, 40, seed=2))).tolist()


def test_resample_refuses_zero_rounds() -> None:
    with pytest.raises(UsageError, match="expected 1 round or more, got 0"):
        next(resample(3, 0, seed=0))


def test_interval_contains_the_value_and_shrinks_with_more_images() -> None:
    widths = []
    for images in (30, 300):
        state = random_state(images)
        intervals = confidence_intervals(state.statistics, state.num_images, 60)
        for name, value in state.statistics(unit_weights(images)).items():
            assert intervals[name][0] <= value[0] <= intervals[name][1], name
        widths.append(intervals["ap50_area"][1] - intervals["ap50_area"][0])
    assert widths[1] < widths[0] / 2


def test_metrics_that_are_not_measured_have_no_interval() -> None:
    assert confidence_interval(np.array([np.nan, np.nan])) is None
    assert confidence_interval(np.array([0.5, np.nan])) == (0.5, 0.5)
    state = random_state(3)
    assert set(confidence_intervals(state.statistics, state.num_images, 5)) == {"ap50_area", "miou"}
    assert confidence_intervals(state.statistics, 0, 5) == {}


def test_difference_of_equal_predictions_is_zero() -> None:
    state = random_state(30)
    differences = paired_differences(state.statistics, state.statistics, state.num_images, 20)
    assert set(differences) == {"ap50_area", "ap50_frequent", "miou"}
    for difference in differences.values():
        assert difference.difference == 0.0
        assert difference.interval == (0.0, 0.0)


def test_mean_difference_of_one_run_has_the_run_s_interval() -> None:
    differences = np.random.default_rng(0).normal(0.02, 0.01, 200)
    mean = mean_difference([PairedBootstrap(0.5, 0.52, differences)])
    assert mean.interval == confidence_interval(differences)
    assert mean.difference == pytest.approx(0.02)


def test_mean_difference_resamples_runs() -> None:
    """The interval equals that of means computed round by round, and is wider than that of equal runs."""
    rng = np.random.default_rng(1)
    images, rounds = rng.normal(0, 0.01, 4000), 4000
    runs = [PairedBootstrap(0.5, 0.5 + gain, images + gain) for gain in (0.0, 0.03, 0.06)]
    slow = [sum(runs[rng.integers(3)].differences[n] for _ in range(3)) / 3 for n in range(rounds)]
    mean = mean_difference(runs)
    assert mean.difference == pytest.approx(0.03)
    assert mean.interval == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])), abs=3e-3)
    equal_runs = mean_difference([PairedBootstrap(0.5, 0.53, images + 0.03)] * 3).interval
    assert mean.interval[0] < equal_runs[0] < equal_runs[1] < mean.interval[1]
