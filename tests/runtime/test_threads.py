import os
from pathlib import Path

import pytest

from blitznet.core.errors import UsageError
from blitznet.runtime.threads import available_threads, replica_threads, resolve_threads


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 64),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("9900000 100000\n", 64),
        ("nonsense\n", 64),
        (None, 64),
    ],
)
def test_available_threads_respects_the_containers_quota(
    text: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr("blitznet.runtime.threads._CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    assert available_threads() == expected
    assert resolve_threads(None) == expected
    assert resolve_threads(3) == 3


@pytest.mark.parametrize("threads", [0, -2])
def test_invalid_threads_are_refused(threads: int) -> None:
    with pytest.raises(UsageError, match=f"^threads: expected 1 or more, got {threads}$"):
        resolve_threads(threads)


@pytest.mark.parametrize(("threads", "expected"), [(1, [1]), (2, [1, 1]), (7, [1] * 7), (8, [1] * 8), (20, [2] * 8)])
def test_replica_threads(threads: int, expected: list[int]) -> None:
    assert replica_threads(threads) == expected
