import threading
from concurrent.futures import wait

import numpy as np
import pytest

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.postprocess.result import Result
from blitznet.runtime.predictor import Predictor
from blitznet.serve.pool import BusyError, ClosedError, Job, Pool
from support.fake_engines import SPEC, FakeEngine, random_outputs


def unable(image: ImageSource, result: Result) -> bytes:
    raise ZeroDivisionError


class Slow(FakeEngine):
    """Looks when it is let, and says how many it was given."""

    def __init__(self) -> None:
        super().__init__(random_outputs(8))
        self.may = threading.Semaphore(0)
        self.batches: list[int] = []

    def run(self, images: RGBArray) -> Outputs | NmsOutputs:
        self.may.acquire()
        self.batches.append(len(images))
        return self.outputs


def job(value: int = 90, *, score: float = 0.5) -> Job:
    return Job(ImageSource(np.full((20, 30, 3), value, np.uint8)), score, False, said)


def said(image: ImageSource, result: Result) -> bytes:
    return f"{image.size()} {len(result)}".encode()


def test_what_waits_goes_together_and_is_answered_as_alone() -> None:
    engine = Slow()
    pool = Pool(Predictor(engine), batch=4)
    first = pool.submit(job())
    while pool.waiting:
        pass
    others = [pool.submit(job(score=0.5)) for _ in range(7)] + [pool.submit(job(score=0.9))]
    for _ in range(10):
        engine.may.release()
    wait([first, *others], timeout=20)
    pool.close()
    assert engine.batches == [1, 4, 2, 1, 1]
    alone = Predictor(FakeEngine(random_outputs(8)))
    feeds = [alone.preprocess(np.full((20, 30, 3), 90, np.uint8))] * 4
    parts = [alone.infer(feeds[:count], min_score=0.5, class_map=False) for count in (4, 2, 1)]
    expected = [len(result) for part in parts for result in part]
    assert [future.result() for future in others[:7]] == [f"(20, 30) {count}".encode() for count in expected]


def test_a_full_queue_says_so() -> None:
    engine = Slow()
    pool = Pool(Predictor(engine), queue=2, batch=1)
    taken = [pool.submit(job())]
    while pool.waiting:
        pass
    taken += [pool.submit(job()), pool.submit(job())]
    with pytest.raises(BusyError, match="2 images are waiting already"):
        pool.submit(job())
    for _ in range(3):
        engine.may.release()
    wait(taken, timeout=20)
    pool.close()


def test_closing_answers_what_was_taken_and_takes_nothing_more() -> None:
    engine = Slow()
    pool = Pool(Predictor(engine), batch=2)
    taken = [pool.submit(job()) for _ in range(5)]
    closing = threading.Thread(target=pool.close)
    closing.start()
    while pool.open:
        pass
    with pytest.raises(ClosedError, match="going down"):
        pool.submit(job())
    for _ in range(5):
        engine.may.release()
    closing.join(20)
    assert not closing.is_alive()
    assert all(future.result(0) for future in taken)


def test_what_is_wrong_with_one_is_told_to_that_one() -> None:
    engine = Slow()
    for _ in range(5):
        engine.may.release()
    pool = Pool(Predictor(engine), batch=4)
    broken = pool.submit(Job(ImageSource(b"no image"), 0.5, False, said))
    faulty = pool.submit(Job(ImageSource(np.zeros((4, 4, 3), np.uint8)), 0.5, False, unable))
    good = pool.submit(job())
    assert good.result(20)
    with pytest.raises(DataError, match="not an image of a known format"):
        broken.result(20)
    with pytest.raises(ZeroDivisionError):
        faulty.result(20)
    pool.close()


def test_a_question_taken_back_is_not_looked_at() -> None:
    engine = Slow()
    pool = Pool(Predictor(engine), batch=1)
    first = pool.submit(job())
    while pool.waiting:
        pass
    second = pool.submit(job())
    assert second.cancel()
    engine.may.release()
    first.result(20)
    pool.close()
    assert engine.batches == [1]
    assert SPEC.size == (64, 48)
