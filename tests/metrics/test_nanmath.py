import numpy as np

from blitznet.metrics.nanmath import mean, none_if_nan, ratio


def test_ratio_of_an_empty_whole() -> None:
    whole = np.array([2, 0])
    assert ratio(np.array([1, 0]), whole, empty=0.0).tolist() == [0.5, 0.0]
    assert np.isnan(ratio(np.array([1, 0]), whole)).tolist() == [False, True]


def test_mean_leaves_out_nan() -> None:
    values = np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, np.nan]])
    assert mean(values)[0] == 0.5
    assert np.isnan(mean(values)[1])
    assert np.isnan(mean(np.zeros((1, 0)))[0])


def test_none_if_nan() -> None:
    assert none_if_nan(0.5) == 0.5
    assert none_if_nan(float("nan")) is None
