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

EMPTY = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)


def preprocess(image: ImageInput) -> ModelInput:
    """A name is a number, which becomes the pixels and the size; `bad` ones cannot be read."""
    assert not isinstance(image, bytes)
    number = int(str(image).removeprefix("bad"))
    if str(image).startswith("bad"):
        raise DataError(f"{image}: broken")
    return ModelInput(np.full((2, 2, 3), number % 256, np.uint8), (number + 1, 1))


def infer(inputs: Sequence[ModelInput]) -> list[Result]:
    assert inputs or inputs == []
    return [Result(*EMPTY, class_names=("cat",), size=item.original_size) for item in inputs]


def numbers(items: Sequence[StreamResult]) -> list[str | int]:
    """The number of each image, or its error."""
    return [str(item.error) if item.result is None else item.result.size[0] - 1 for item in items]


def no_threads() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name.startswith("blitznet")]


@pytest.fixture(autouse=True, params=[1, 3], ids=["one decoder", "three decoders"])
def decoders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "decoder_threads", lambda: request.param)
    yield
    assert no_threads()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("slow", ["source", "preprocess", "infer", "caller", "all", "none"])
def test_order_is_kept_whatever_step_is_slow(workers: int, batch: int, slow: str) -> None:
    rng = np.random.default_rng(0)

    def wait(step: str) -> None:
        if slow in (step, "all"):
            time.sleep(float(rng.random()) * 0.004)

    def source() -> Iterator[str]:
        for number in range(20):
            wait("source")
            yield str(number)

    def slow_preprocess(image: ImageInput) -> ModelInput:
        wait("preprocess")
        return preprocess(image)

    def slow_infer(inputs: Sequence[ModelInput]) -> list[Result]:
        wait("infer")
        return infer(inputs)

    items = []
    for item in run_stream(source(), slow_preprocess, [slow_infer] * workers, batch=batch):
        wait("caller")
        items.append(item)
    assert numbers(items) == list(range(20))
    assert [item.source for item in items] == [str(number) for number in range(20)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("bad", [{0}, {5}, {19}, {3, 4, 5}, set(range(20))])
def test_image_that_cannot_be_read_gives_an_error(batch: int, bad: set[int]) -> None:
    names = [f"bad{number}" if number in bad else str(number) for number in range(20)]
    items = list(run_stream(names, preprocess, [infer], batch=batch))
    assert numbers(items) == [f"bad{number}: broken" if number in bad else number for number in range(20)]
    assert all(
        isinstance(item.error, DataError) == item.source.startswith("bad")
        for item in items
        if isinstance(item.source, str)
    )


def test_batches_are_full_except_the_last() -> None:
    sizes: list[int] = []

    def slow_infer(inputs: Sequence[ModelInput]) -> list[Result]:
        sizes.append(len(inputs))
        return infer(inputs)

    names = ["bad0", *map(str, range(1, 6)), "bad6", *map(str, range(7, 12))]
    assert len(list(run_stream(names, preprocess, [slow_infer], batch=4))) == 12
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("kind", ["", "bad"])
def test_at_most_max_in_flight_images_are_in_memory(workers: int, batch: int, kind: str) -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield f"{kind}{number}"

    most = yielded = 0
    for _ in run_stream(source(), preprocess, [infer] * workers, batch=batch):
        time.sleep(0.001)
        yielded += 1
        most = max(most, taken - yielded)
    assert yielded == 200
    assert batch <= most <= max_in_flight(batch, workers)


def test_steps_overlap() -> None:
    """Each step waits until the step before it has started the next image, which would block without overlap."""
    preprocessed, inferred = [threading.Event() for _ in range(21)], [threading.Event() for _ in range(21)]
    preprocessed[20].set()
    inferred[20].set()

    def slow_preprocess(image: ImageInput) -> ModelInput:
        preprocessed[int(str(image))].set()
        return preprocess(image)

    def waiting_infer(images: Sequence[ModelInput]) -> list[Result]:
        number = images[0].original_size[0] - 1
        inferred[number].set()
        assert preprocessed[number + 1].wait(60)
        return infer(images)

    for number, item in enumerate(run_stream(map(str, range(20)), slow_preprocess, [waiting_infer], batch=1)):
        assert numbers([item]) == [number]
        assert inferred[number + 1].wait(60)


def test_workers_run_at_once_with_one_batch_each() -> None:
    """Each worker waits until all of them run, which would block if they ran one after the other."""
    together = threading.Barrier(3)
    busy = [threading.Lock() for _ in range(3)]
    used: set[int] = set()

    def run_worker(inputs: Sequence[ModelInput], index: int) -> list[Result]:
        assert busy[index].acquire(blocking=False)
        together.wait(60)
        used.add(index)
        busy[index].release()
        return infer(inputs)

    workers = [partial(run_worker, index=index) for index in range(3)]
    assert numbers(list(run_stream(map(str, range(12)), preprocess, workers, batch=1))) == list(range(12))
    assert used == {0, 1, 2}


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_closing_early_ends_the_threads(taken: int) -> None:
    def endless() -> Iterator[str]:
        number = 0
        while True:
            yield str(number)
            number += 1

    items = run_stream(endless(), preprocess, [infer], batch=2)
    assert numbers([next(items) for _ in range(taken)]) == list(range(taken))
    items.close()
    assert no_threads()
    for item in run_stream(endless(), preprocess, [infer], batch=2):
        assert item.result is not None
        break
    del item
    assert no_threads()


@pytest.mark.parametrize("batch", [1, 4])
def test_error_of_the_source_is_raised_after_the_images_before_it(batch: int) -> None:
    def source() -> Iterator[str]:
        yield from map(str, range(6))
        raise ConnectionError("the camera is gone")

    items = []
    with pytest.raises(ConnectionError, match="the camera is gone"):  # noqa: PT012 - the images before it are checked
        for item in run_stream(source(), preprocess, [infer], batch=batch):
            items.append(item)
    assert numbers(items) == list(range(6))


@pytest.mark.parametrize("step", ["preprocess", "infer"])
def test_other_errors_end_the_stream(step: str) -> None:
    def broken_preprocess(*arguments: object) -> ModelInput:
        raise MemoryError("all is full")

    def broken_infer(inputs: Sequence[ModelInput]) -> list[Result]:
        raise MemoryError("all is full")

    with pytest.raises(MemoryError, match="all is full"):
        list(
            run_stream(
                ["0", "1"],
                broken_preprocess if step == "preprocess" else preprocess,
                [broken_infer if step == "infer" else infer],
                batch=1,
            )
        )


def test_empty_source() -> None:
    assert list(run_stream([], preprocess, [infer], batch=3)) == []


class MeanEngine(FakeEngine):
    """Its outputs depend on the mean of the pixels."""

    def run(self, images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Outputs | NmsOutputs:
        outputs = random_outputs(1)
        shift = images.mean((1, 2, 3), keepdims=True).astype(np.float32) / 100  # (B, 1, 1, 1)
        assert outputs.offsets is not None
        assert outputs.logits is not None
        assert outputs.segmentation_logits is not None
        logits = np.sin(outputs.logits + shift[:, 0]) * 5
        return Outputs(outputs.offsets + shift[:, 0], logits.astype(np.float32), outputs.segmentation_logits * shift)


@pytest.mark.parametrize("batch", [1, 4])
def test_predictor_stream_equals_single_calls(batch: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images: list[ImageInput] = [rng.integers(0, 256, (30 + i, 40, 3), np.uint8) for i in range(6)]
    for i in range(3):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 60 * (i + 1), (50, 40 + i, 3), np.uint8)).save(path)
        images.append(path)
    predictor = Predictor(MeanEngine(random_outputs()))
    items = list(predictor.stream(iter(images), batch=batch, min_score=0.3))
    assert len(items) == len(images)
    for image, item in zip(images, items, strict=True):
        expected = predictor(image, min_score=0.3)
        assert item.source is image
        assert item.result is not None
        assert 0 < item.seconds < 5
        np.testing.assert_array_equal(item.result.boxes, expected.boxes)
        np.testing.assert_array_equal(item.result.scores, expected.scores)
        assert item.result.size == expected.size
        assert item.result.class_map is not None
        assert expected.class_map is not None
        np.testing.assert_array_equal(item.result.class_map, expected.class_map)


class ReplicableEngine(MeanEngine):
    """Has two replicas, and counts its own runs."""

    def __init__(self) -> None:
        super().__init__(random_outputs())
        self.replicas = (MeanEngine(random_outputs()), MeanEngine(random_outputs()))
        self.runs = 0

    def run(self, images: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> Outputs | NmsOutputs:
        self.runs += 1
        return super().run(images)

    def replicate(self) -> tuple[MeanEngine, MeanEngine]:
        return self.replicas


@pytest.mark.parametrize(
    ("count", "known", "throughput", "own_runs"),
    [(70, True, None, 0), (9, True, None, 9), (9, False, None, 0), (9, True, True, 0), (70, True, False, 70)],
)
def test_replicas_run_long_sources(count: int, known: bool, throughput: bool | None, own_runs: int) -> None:
    engine = ReplicableEngine()
    images: list[ImageInput] = [np.full((9, 9, 3), 3 * number, np.uint8) for number in range(count)]
    items = list(Predictor(engine).stream(images if known else (image for image in images), throughput=throughput))
    assert [item.source is image for item, image in zip(items, images, strict=True)] == [True] * count
    assert engine.runs == own_runs


def test_predictor_stream_without_class_maps() -> None:
    item = next(Predictor(MeanEngine(random_outputs())).stream([np.zeros((9, 9, 3), np.uint8)], class_map=False))
    assert item.result is not None
    assert item.result.class_map is None


def test_predictor_stream_of_invalid_images() -> None:
    items = list(Predictor(MeanEngine(random_outputs())).stream([np.zeros((9, 9), np.uint8), "gone.jpg"]))
    assert [str(item.error) for item in items] == [
        "image: expected an array (H, W, 3), got (9, 9); for a gray image use np.stack([image] * 3, -1)",
        "gone.jpg: expected a file, got a path that does not exist",
    ]
    assert all(isinstance(item.error, BlitzNetError) for item in items)


def test_invalid_arguments_are_refused_at_once() -> None:
    predictor = Predictor(MeanEngine(random_outputs()))
    with pytest.raises(UsageError, match=r"^batch: expected 1 or more, got 0$"):
        predictor.stream([], batch=0)
    with pytest.raises(UsageError, match=r"^min_score: expected 0 to 1, got 2$"):
        predictor.stream([], min_score=2)
