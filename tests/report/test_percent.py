import pytest

from blitznet.report.percent import percent, percent_with_interval


@pytest.mark.parametrize(("value", "text"), [(0.1234, "12.3"), (None, "-"), (float("nan"), "-"), (-0.001, "-0.1")])
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_percent_digits_and_sign() -> None:
    assert percent(0.126, digits=0) == "13"
    assert percent(0.5, signed=True) == "+50.0"


def test_percent_with_interval() -> None:
    assert percent_with_interval(0.5, [0.4, 0.6]) == "50.0 (40.0 to 60.0)"
    assert percent_with_interval(0.5, None) == "50.0"
    assert percent_with_interval(None, [0.4, 0.6]) == "-"
