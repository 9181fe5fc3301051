import multiprocessing
from functools import partial
from itertools import pairwise

import pytest

from blitznet.bench.interleaved import BenchTaskFactory, run_interleaved
from blitznet.core.errors import BlitzNetError
from support.bench_jobs import (
    Span,
    open_broken,
    open_counter,
    open_exiting,
    open_sleeper,
    open_spinner,
    open_without_extra,
)


def test_tasks_run_one_at_a_time_in_alternating_order() -> None:
    calls: list[tuple[str, int, int]] = []
    factories = [partial(open_sleeper, 0.01 * index) for index in range(3)]
    spans = run_interleaved(
        factories, 2, warmup=1, progress=lambda label, done, total: calls.append((label, done, total))
    )
    assert [len(task_spans) for task_spans in spans] == [2, 2, 2]
    assert len({process for task_spans in spans for process, _, _ in task_spans}) == 3
    ordered = sorted((start, end, index) for index, task_spans in enumerate(spans) for _, start, end in task_spans)
    assert all(end <= start for (_, end, _), (start, _, _) in pairwise(ordered))
    assert [index for _, _, index in ordered] == [2, 1, 0, 0, 1, 2]
    assert calls == [("runs", done, 9) for done in range(1, 10)]


def test_turn_ends_when_its_threads_are_idle() -> None:
    factories: list[BenchTaskFactory[Span]] = [open_spinner, partial(open_sleeper, 0)]
    (_, (_, _, end)), ((_, start, _), _) = run_interleaved(factories, 2, warmup=0)
    assert 0 < end <= start


def test_warmup_rounds_are_dropped() -> None:
    assert run_interleaved([partial(open_counter, 0), partial(open_counter, 10)], 2, warmup=3) == [[4, 5], [14, 15]]


def test_errors_are_raised_in_the_parent() -> None:
    factories_with_failure: list[BenchTaskFactory[object]] = [partial(open_counter, 0), open_broken]
    with pytest.raises(BlitzNetError, match=r"this needs `pip install 'blitznet\[that\]'`"):
        run_interleaved([open_without_extra], 1)
    with pytest.raises(RuntimeError, match=r"(?s)jobs\.py.*ZeroDivisionError: no number"):
        run_interleaved(factories_with_failure, 1)
    with pytest.raises(RuntimeError, match="ended unexpectedly with exit code 3"):
        run_interleaved([open_exiting], 1)
    assert not multiprocessing.active_children()
