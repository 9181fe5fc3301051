"""Selection of a fixed fraction by hash."""

import pytest

from blitznet.data.hash_split import in_hash_fraction

KEYS = [f"image {number}" for number in range(2000)]


def selected(fraction: float) -> set[str]:
    return {key for key in KEYS if in_hash_fraction(key, fraction)}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_selects_about_the_fraction(fraction: float) -> None:
    assert len(selected(fraction)) / len(KEYS) == pytest.approx(fraction, abs=0.03)


def test_larger_fractions_contain_smaller_ones() -> None:
    assert selected(0.0) == set()
    assert selected(0.1) < selected(0.3) < selected(1.0) == set(KEYS)


def test_selection_never_changes() -> None:
    keys = ("2007_000032", "2008_000002", "mask of 2007_000032")  # hashes 0.81, 0.69, 0.73
    assert [in_hash_fraction(key, 0.7) for key in keys] == [False, True, False]
