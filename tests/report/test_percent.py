import pytest

from blitznet.report.percent import percent, percent_with_interval, percent_with_margin


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3"), (None, "-"), (float("nan"), "-"), (-0.001, "-0.1")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_percent_digits_and_sign() -> None:
    assert percent(0.126, digits=0) == "13"
    assert percent(0.5, signed=True) == "+50.0"


def test_percent_with_margin_is_half_of_the_interval() -> None:
    assert percent_with_margin(0.6, (0.5, 0.7)) == "60.0 ±10.0"
    assert percent_with_margin(0.6, None) == "60.0"
    assert percent_with_margin(None, (0.5, 0.7)) == "-"


def test_percent_with_interval() -> None:
    assert percent_with_interval(0.5, [0.4, 0.6]) == "50.0 (40.0 to 60.0)"
    assert percent_with_interval(0.5, None) == "50.0"
    assert percent_with_interval(None, [0.4, 0.6]) == "-"
