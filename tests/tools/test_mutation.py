"""The list of modules for mutation testing, and the report."""

from pathlib import Path

import pytest

from tools.mutation import PACKAGE, TARGETS, Score, read_score, report

ROOT = Path(__file__).parents[2]


def test_modules_and_their_tests_exist() -> None:
    assert all((ROOT / PACKAGE / module).is_file() for module in TARGETS)
    assert all((ROOT / test).is_file() for tests in TARGETS.values() for test in tests)


STATS = {"killed": 5, "survived": 1, "total": 11, "no_tests": 1, "skipped": 1, "timeout": 2, "segfault": 1}


def test_a_mutant_that_never_ends_is_killed_and_an_untested_one_survives() -> None:
    listing = ["    blitznet.a.x_f__mutmut_1: survived", "    blitznet.a.x_g__mutmut_2: no tests", "    x: timeout"]
    score = read_score("a.py", STATS, listing)
    assert score == Score("a.py", 8, 10, ("blitznet.a.x_f__mutmut_1", "blitznet.a.x_g__mutmut_2"))
    assert score is not None
    assert report([score]).splitlines()[2:] == [
        "| `a.py` | 10 | 8 | 80 % |",
        "| all | 10 | 8 | 80 % |",
        "",
        "- `blitznet.a.x_f__mutmut_1`",
        "- `blitznet.a.x_g__mutmut_2`",
    ]


@pytest.mark.parametrize("state", ["not checked", "check was interrupted by user"])
def test_an_interrupted_run_has_no_score(state: str) -> None:
    assert read_score("a.py", STATS, ["    x: survived", f"    y: {state}"]) is None
