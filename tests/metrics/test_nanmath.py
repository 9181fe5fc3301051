import numpy as np

from blitznet.metrics.nanmath import mean, ratio


def test_ratio_of_nothing() -> None:
    whole = np.array([2, 0])
    assert ratio(np.array([1, 0]), whole, empty=0.0).tolist() == [0.5, 0.0]
    assert np.isnan(ratio(np.array([1, 0]), whole)).tolist() == [False, True]


def test_mean_of_what_is_there() -> None:
    values = np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, np.nan]])
    assert mean(values)[0] == 0.5
    assert np.isnan(mean(values)[1])
    assert np.isnan(mean(np.zeros((1, 0)))[0])
