import os
import sys
import threading
import time
import weakref
from concurrent.futures import Future, wait
from functools import partial

import numpy as np
import pytest

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.postprocess.result import Result
from blitznet.runtime.predictor import Predictor
from blitznet.serve.admission import BusyError
from blitznet.serve.pool import ClosedError, Job, Pool
from support.fake_engines import SPEC, FakeEngine, random_outputs


class GatedEngine(FakeEngine):
    """Runs a batch each time the test releases it, and records the batch sizes."""

    def __init__(self) -> None:
        super().__init__(random_outputs(8))
        self.gate = threading.Semaphore(0)
        self.batch_sizes: list[int] = []

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        self.gate.acquire()
        self.batch_sizes.append(len(images))
        return self.outputs


def render_count(image: ImageSource, result: Result) -> bytes:
    return f"{image.size()} {len(result)}".encode()


def render_error(image: ImageSource, result: Result) -> bytes:
    raise ZeroDivisionError


def make_job(*, min_score: float = 0.5) -> Job:
    return Job(ImageSource(np.full((20, 30, 3), 90, np.uint8)), min_score, False, render_count)


def submit(pool: Pool, job: Job) -> "Future[bytes]":
    pool.submit(job)
    return job.future


def wait_until_empty(pool: Pool) -> None:
    while pool.waiting:
        pass


def test_waiting_images_are_batched_without_changing_results() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine), batch=4)
    first = submit(pool, make_job())
    wait_until_empty(pool)
    others = [submit(pool, make_job()) for _ in range(7)] + [submit(pool, make_job(min_score=0.9))]
    for _ in range(10):
        engine.gate.release()
    wait([first, *others], timeout=20)
    pool.close()
    assert engine.batch_sizes == [1, 4, 2, 1, 1]
    predictor = Predictor(FakeEngine(random_outputs(8)))
    inputs = [predictor.preprocess(np.full((20, 30, 3), 90, np.uint8))] * 4
    batches = [predictor.infer(inputs[:count], min_score=0.5, class_map=False) for count in (4, 2, 1)]
    expected = [len(result) for batch in batches for result in batch]
    assert [future.result() for future in others[:7]] == [f"(20, 30) {count}".encode() for count in expected]


def test_a_full_queue_raises() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine), max_queue=2, batch=1)
    futures = [submit(pool, make_job())]
    wait_until_empty(pool)
    futures += [submit(pool, make_job()), submit(pool, make_job())]
    with pytest.raises(BusyError, match="the queue is full: 2 of at most 2 images are waiting, and the request has 1"):
        submit(pool, make_job())
    for _ in range(3):
        engine.gate.release()
    wait(futures, timeout=20)
    pool.close()


def test_an_idle_pool_keeps_no_image_in_memory() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine))
    render = partial(render_count)
    job = Job(ImageSource(np.full((20, 30, 3), 90, np.uint8)), 0.5, False, render)
    reference = weakref.ref(render)  # held by the job, as the image
    pool.submit(job)
    engine.gate.release()
    job.future.result(20)
    del job, render
    deadline = time.monotonic() + 20
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reference() is None
    assert pool.computed == 1
    pool.close()


def test_close_waits_for_the_queue_and_refuses_more() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine), batch=2)
    futures = [submit(pool, make_job()) for _ in range(5)]
    closing = threading.Thread(target=pool.close)
    closing.start()
    while pool.open:
        pass
    with pytest.raises(ClosedError, match="shutting down"):
        submit(pool, make_job())
    for _ in range(5):
        engine.gate.release()
    closing.join(20)
    assert not closing.is_alive()
    assert all(future.result(0) for future in futures)


def test_an_error_affects_its_own_job_only() -> None:
    engine = GatedEngine()
    for _ in range(5):
        engine.gate.release()
    pool = Pool(Predictor(engine), batch=4)
    undecodable = submit(pool, Job(ImageSource(b"no image"), 0.5, False, render_count))
    unrenderable = submit(pool, Job(ImageSource(np.zeros((4, 4, 3), np.uint8)), 0.5, False, render_error))
    valid = submit(pool, make_job())
    assert valid.result(20)
    with pytest.raises(DataError, match="not an image of a known format"):
        undecodable.result(20)
    with pytest.raises(ZeroDivisionError):
        unrenderable.result(20)
    pool.close()


def test_a_cancelled_job_is_not_run() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine), batch=1)
    first = submit(pool, make_job())
    wait_until_empty(pool)
    second = submit(pool, make_job())
    assert second.cancel()
    engine.gate.release()
    first.result(20)
    pool.close()
    assert engine.batch_sizes == [1]
    assert SPEC.size == (64, 48)


def test_several_images_are_queued_together_or_not_at_all() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine), max_queue=3, batch=1)
    first = submit(pool, make_job())
    wait_until_empty(pool)
    second, third, refused = make_job(), make_job(), [make_job(), make_job()]
    pool.submit(second, third)
    with pytest.raises(BusyError, match="2 of at most 3 images are waiting, and the request has 2"):
        pool.submit(*refused)
    assert pool.waiting == 2
    pool.withdraw([second])
    assert pool.waiting == 1
    pool.submit(*refused)
    pool.withdraw(refused)
    for _ in range(2):
        engine.gate.release()
    wait([first, third.future], timeout=20)
    pool.close()
    assert engine.batch_sizes == [1, 1]


class FailingEngine(GatedEngine):
    """Fails on batches of several images, and on white images."""

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        outputs = super().run(images)
        if (images == 255).all((1, 2, 3)).any():
            raise ZeroDivisionError
        return outputs


def test_an_engine_that_fails_on_one_image_answers_the_others() -> None:
    engine = FailingEngine()
    for _ in range(9):
        engine.gate.release()
    pool = Pool(Predictor(engine), batch=4)
    white = Job(ImageSource(np.full((20, 30, 3), 255, np.uint8)), 0.5, False, render_count)
    jobs = [make_job(), white, make_job()]
    pool.submit(*jobs)
    assert jobs[0].future.result(20)
    assert jobs[2].future.result(20)
    with pytest.raises(ZeroDivisionError):
        white.future.result(20)
    pool.close()


def test_the_pool_is_ready_when_every_batch_size_was_run() -> None:
    engine = GatedEngine()
    pool = Pool(Predictor(engine), batch=4, warm_up=True)
    assert (pool.open, pool.ready) == (True, False)
    job = make_job()
    pool.submit(job)
    for _ in range(4):
        engine.gate.release()
    assert job.future.result(20)
    assert pool.ready
    assert engine.batch_sizes == [1, 2, 4, 1]
    pool.close()
    assert not pool.ready


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_workers_have_a_lower_priority_than_the_event_loop() -> None:
    priorities: list[int] = []

    def render(image: ImageSource, result: Result) -> bytes:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return b""

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    pool = Pool(Predictor(FakeEngine(random_outputs(8))))
    job = Job(ImageSource(np.full((20, 30, 3), 90, np.uint8)), 0.5, False, render)
    submit(pool, job).result()
    pool.close()
    assert priorities[0] > before
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
