"""The kept inputs of the fuzz targets, without the fuzzer: each ends in a value, or in one short line."""

from pathlib import Path

import pytest

from fuzz.targets import TARGETS, run_target

SEEDS = Path(__file__).parents[2] / "fuzz" / "seeds"
FILES = sorted(path for path in SEEDS.rglob("*") if path.is_file())
MAX_SEED = 16_384
"""bytes"""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SEEDS)))
def test_seeds_are_parsed_or_refused_in_one_line(path: Path) -> None:
    run_target(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_seeds(name: str) -> None:
    assert any(path.parent.name == name for path in FILES)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "content", [b"", b"\0", b"\xff" * 64, b"[" * 9_999, b"\n" * 99], ids=["empty", "null", "ff", "deep", "lines"]
)
def test_targets_survive_other_bytes(name: str, content: bytes) -> None:
    run_target(name, content)


def test_seeds_are_small_and_of_a_target() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)
    assert all(path.stat().st_size <= MAX_SEED for path in FILES)
