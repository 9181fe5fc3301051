"""Bytes of a training step: the counts of parameters are those of the networks, and those of the documentation."""

from pathlib import Path

import pytest

from benchmarks.training.communication import Communication, num_parameters, sent_bytes, table


def test_a_ring_sends_twice_all_but_one_part() -> None:
    assert sent_bytes(1_000_000, 1) == 0
    assert sent_bytes(1_000_000, 2) == 4_000_000
    assert sent_bytes(1_000_000, 8) == 7_000_000
    assert sent_bytes(1_000_000, 64) == pytest.approx(8_000_000, rel=0.02)


def test_table_has_a_row_per_model() -> None:
    lines = table(Communication(models=("blitznet300-lite",), processes=(2,), gigabits=8.0))
    millions = num_parameters("blitznet300-lite") / 1e6
    assert lines[0] == "| model | parameters, M | values of a replica, MB | n = 2 |"
    cells = (f"{millions:.2f}", f"{millions * 20:.0f}", f"{4 * millions:.0f} MB, {4 * millions:.1f} ms")
    assert lines[2] == f"| blitznet300-lite | {' | '.join(cells)} |"


def test_the_documentation_has_this_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "scale.md").read_text()
    assert "\n".join(table(Communication())) in page
