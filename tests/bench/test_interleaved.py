import multiprocessing
from functools import partial
from itertools import pairwise

import pytest

from blitznet.bench.interleaved import Job, run_interleaved
from blitznet.core.errors import BlitzNetError
from support.bench_jobs import Span, open_broken, open_counter, open_mortal, open_nothing, open_sleeper, open_spinner


def test_one_at_a_time_in_changing_order() -> None:
    seen: list[tuple[int, int]] = []
    jobs = [partial(open_sleeper, 0.01 * place) for place in range(3)]
    spans = run_interleaved(jobs, 2, warmup=1, watch=lambda done, of: seen.append((done, of)))
    assert [len(given) for given in spans] == [2, 2, 2]
    assert len({process for given in spans for process, _, _ in given}) == 3
    ordered = sorted((begun, ended, place) for place, given in enumerate(spans) for _, begun, ended in given)
    assert all(ended <= begun for (_, ended, _), (begun, _, _) in pairwise(ordered))
    assert [place for _, _, place in ordered] == [2, 1, 0, 0, 1, 2]
    assert seen == [(done, 9) for done in range(1, 10)]


def test_a_turn_ends_when_its_threads_are_quiet() -> None:
    jobs: list[Job[Span]] = [open_spinner, partial(open_sleeper, 0)]
    (_, (_, _, ended)), ((_, begun, _), _) = run_interleaved(jobs, 2, warmup=0)
    assert 0 < ended <= begun


def test_warming_up_is_left_out() -> None:
    assert run_interleaved([partial(open_counter, 0), partial(open_counter, 10)], 2, warmup=3) == [[4, 5], [14, 15]]


def test_mistakes_and_failures_come_back() -> None:
    two: list[Job[object]] = [partial(open_counter, 0), open_broken]
    with pytest.raises(BlitzNetError, match=r"this needs `pip install 'blitznet\[that\]'`"):
        run_interleaved([open_nothing], 1)
    with pytest.raises(RuntimeError, match=r"(?s)jobs\.py.*ZeroDivisionError: no number"):
        run_interleaved(two, 1)
    with pytest.raises(RuntimeError, match="ended by itself, exit code 3"):
        run_interleaved([open_mortal], 1)
    assert not multiprocessing.active_children()
