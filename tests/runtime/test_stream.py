import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.core.errors import BlitzNetError, DataError, UsageError
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.postprocess.result import Result
from blitznet.runtime import stream as module
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.preprocess import ImageInput, ModelInput
from blitznet.runtime.stream import StreamResult, max_in_flight, run_stream
from support.fake_engines import FakeEngine, random_outputs

NONE = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


def feed(image: ImageInput) -> ModelInput:
    """Names are numbers here, which stand in the pixels; `bad` ones cannot be read."""
    assert not isinstance(image, bytes)
    number = int(str(image).removeprefix("bad"))
    if str(image).startswith("bad"):
        raise DataError(f"{image}: broken")
    return ModelInput(np.full((2, 2, 3), number % 256, np.uint8), (number + 1, 1))


def look(fed: Sequence[ModelInput]) -> list[Result]:
    assert fed or fed == []
    return [Result(*NONE, class_names=("cat",), size=one.original_size) for one in fed]


def numbers(seen: Sequence[StreamResult]) -> list[str | int]:
    """What came of each: its number, or what is wrong."""
    return [str(one.error) if one.result is None else one.result.size[0] - 1 for one in seen]


def no_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("blitznet")]


@pytest.fixture(autouse=True, params=[1, 3], ids=["one decoder", "three decoders"])
def decoders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "decoder_threads", lambda: request.param)
    yield
    assert no_threads()


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("slow", ["source", "feed", "look", "caller", "all", "none"])
def test_order_stays_whatever_takes_long(lanes: int, batch: int, slow: str) -> None:
    rng = np.random.default_rng(0)

    def wait(who: str) -> None:
        if slow in (who, "all"):
            time.sleep(float(rng.random()) * 0.004)

    def source() -> Iterator[str]:
        for number in range(20):
            wait("source")
            yield str(number)

    def feeding(image: ImageInput) -> ModelInput:
        wait("feed")
        return feed(image)

    def looking(fed: Sequence[ModelInput]) -> list[Result]:
        wait("look")
        return look(fed)

    seen = []
    for one in run_stream(source(), feeding, [looking] * lanes, batch=batch):
        wait("caller")
        seen.append(one)
    assert numbers(seen) == list(range(20))
    assert [one.source for one in seen] == [str(number) for number in range(20)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("bad", [{0}, {5}, {19}, {3, 4, 5}, set(range(20))])
def test_what_cannot_be_read_is_told_in_its_place(batch: int, bad: set[int]) -> None:
    names = [f"bad{number}" if number in bad else str(number) for number in range(20)]
    seen = list(run_stream(names, feed, [look], batch=batch))
    assert numbers(seen) == [f"bad{number}: broken" if number in bad else number for number in range(20)]
    assert all(
        isinstance(one.error, DataError) == one.source.startswith("bad") for one in seen if isinstance(one.source, str)
    )


def test_batches_are_full_but_for_the_last() -> None:
    sizes: list[int] = []

    def looking(fed: Sequence[ModelInput]) -> list[Result]:
        sizes.append(len(fed))
        return look(fed)

    names = ["bad0", *map(str, range(1, 6)), "bad6", *map(str, range(7, 12))]
    assert len(list(run_stream(names, feed, [looking], batch=4))) == 12
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("kind", ["", "bad"])
def test_no_more_are_under_way_than_promised(lanes: int, batch: int, kind: str) -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield f"{kind}{number}"

    most = given = 0
    for _ in run_stream(source(), feed, [look] * lanes, batch=batch):
        time.sleep(0.001)
        given += 1
        most = max(most, taken - given)
    assert given == 200
    assert batch <= most <= max_in_flight(batch, lanes)


def test_the_steps_overlap() -> None:
    """Each step waits until the step before it has begun with the next image, which it would else never do."""
    fed, looked = [threading.Event() for _ in range(21)], [threading.Event() for _ in range(21)]
    fed[20].set()
    looked[20].set()

    def feeding(image: ImageInput) -> ModelInput:
        fed[int(str(image))].set()
        return feed(image)

    def looking(images: Sequence[ModelInput]) -> list[Result]:
        number = images[0].original_size[0] - 1
        looked[number].set()
        assert fed[number + 1].wait(60)
        return look(images)

    for number, one in enumerate(run_stream(map(str, range(20)), feeding, [looking], batch=1)):
        assert numbers([one]) == [number]
        assert looked[number + 1].wait(60)


def test_lanes_look_at_once_and_each_at_one_batch_at_a_time() -> None:
    """Every lane waits until all of them look, which one after the other they would never do."""
    together = threading.Barrier(3)
    busy = [threading.Lock() for _ in range(3)]
    used: set[int] = set()

    def looking(fed: Sequence[ModelInput], lane: int) -> list[Result]:
        assert busy[lane].acquire(blocking=False)
        together.wait(60)
        used.add(lane)
        busy[lane].release()
        return look(fed)

    lanes = [partial(looking, lane=lane) for lane in range(3)]
    assert numbers(list(run_stream(map(str, range(12)), feed, lanes, batch=1))) == list(range(12))
    assert used == {0, 1, 2}


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_closing_early_ends_the_threads(taken: int) -> None:
    def endless() -> Iterator[str]:
        number = 0
        while True:
            yield str(number)
            number += 1

    seen = run_stream(endless(), feed, [look], batch=2)
    assert numbers([next(seen) for _ in range(taken)]) == list(range(taken))
    seen.close()
    assert no_threads()
    for one in run_stream(endless(), feed, [look], batch=2):
        assert one.result is not None
        break
    del one
    assert no_threads()


@pytest.mark.parametrize("batch", [1, 4])
def test_an_error_of_the_source_comes_after_what_was_read(batch: int) -> None:
    def source() -> Iterator[str]:
        yield from map(str, range(6))
        raise ConnectionError("the camera is gone")

    seen = []
    with pytest.raises(ConnectionError, match="the camera is gone"):  # noqa: PT012 - what came before it counts
        for one in run_stream(source(), feed, [look], batch=batch):
            seen.append(one)
    assert numbers(seen) == list(range(6))


@pytest.mark.parametrize("who", ["feed", "look"])
def test_an_error_that_is_no_images_fault_ends_it(who: str) -> None:
    def broken(*arguments: object) -> ModelInput:
        raise MemoryError("all is full")

    def breaking(fed: Sequence[ModelInput]) -> list[Result]:
        raise MemoryError("all is full")

    with pytest.raises(MemoryError, match="all is full"):
        list(run_stream(["0", "1"], broken if who == "feed" else feed, [breaking if who == "look" else look], batch=1))


def test_nothing_comes_of_nothing() -> None:
    assert list(run_stream([], feed, [look], batch=3)) == []


class Mean(FakeEngine):
    """Answers depend on the pixels."""

    def run(self, images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Outputs | NmsOutputs:
        outputs = random_outputs(1)
        shift = images.mean((1, 2, 3), keepdims=True).astype(np.float32) / 100  # (B, 1, 1, 1)
        assert outputs.offsets is not None
        assert outputs.logits is not None
        assert outputs.segmentation_logits is not None
        logits = np.sin(outputs.logits + shift[:, 0]) * 5
        return Outputs(outputs.offsets + shift[:, 0], logits.astype(np.float32), outputs.segmentation_logits * shift)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_predictors_stream_is_the_same_as_one_by_one(batch: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images: list[ImageInput] = [rng.integers(0, 256, (30 + i, 40, 3), np.uint8) for i in range(6)]
    for i in range(3):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 60 * (i + 1), (50, 40 + i, 3), np.uint8)).save(path)
        images.append(path)
    predictor = Predictor(Mean(random_outputs()))
    seen = list(predictor.stream(iter(images), batch=batch, min_score=0.3))
    assert len(seen) == len(images)
    for image, one in zip(images, seen, strict=True):
        expected = predictor(image, min_score=0.3)
        assert one.source is image
        assert one.result is not None
        assert 0 < one.seconds < 5
        np.testing.assert_array_equal(one.result.boxes, expected.boxes)
        np.testing.assert_array_equal(one.result.scores, expected.scores)
        assert one.result.size == expected.size
        assert one.result.class_map is not None
        assert expected.class_map is not None
        np.testing.assert_array_equal(one.result.class_map, expected.class_map)


class Divided(Mean):
    """Two of it, which count what they are asked."""

    def __init__(self) -> None:
        super().__init__(random_outputs())
        self.parts = (Mean(random_outputs()), Mean(random_outputs()))
        self.runs = 0

    def run(self, images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Outputs | NmsOutputs:
        self.runs += 1
        return super().run(images)

    def replicate(self) -> tuple[Mean, Mean]:
        return self.parts


@pytest.mark.parametrize(
    ("count", "known", "throughput", "whole"),
    [(70, True, None, 0), (9, True, None, 9), (9, False, None, 0), (9, True, True, 0), (70, True, False, 70)],
)
def test_long_sources_are_looked_at_by_several(count: int, known: bool, throughput: bool | None, whole: int) -> None:
    engine = Divided()
    images: list[ImageInput] = [np.full((9, 9, 3), 3 * number, np.uint8) for number in range(count)]
    seen = list(Predictor(engine).stream(images if known else (image for image in images), throughput=throughput))
    assert [one.source is image for one, image in zip(seen, images, strict=True)] == [True] * count
    assert engine.runs == whole


def test_a_predictors_stream_without_class_maps() -> None:
    seen = next(Predictor(Mean(random_outputs())).stream([np.zeros((9, 9, 3), np.uint8)], class_map=False))
    assert seen.result is not None
    assert seen.result.class_map is None


def test_images_that_are_none() -> None:
    seen = list(Predictor(Mean(random_outputs())).stream([np.zeros((9, 9), np.uint8), "gone.jpg"]))
    assert [str(one.error) for one in seen] == [
        "image: expected shape (any, any, 3), got (9, 9)",
        "gone.jpg: there is no such file",
    ]
    assert all(isinstance(one.error, BlitzNetError) for one in seen)


def test_mistakes_are_told_at_once() -> None:
    predictor = Predictor(Mean(random_outputs()))
    with pytest.raises(UsageError, match=r"^batch: expected 1 or more, got 0$"):
        predictor.stream([], batch=0)
    with pytest.raises(UsageError, match=r"^score: expected 0 to 1, got 2$"):
        predictor.stream([], min_score=2)
