"""Faults of disk, data and processes: a run stops with one line, and resumes bit-equal from its last checkpoint."""

import multiprocessing
import multiprocessing.resource_sharer
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from blitznet.core.errors import BlitzNetError, DataError, ModelError, UsageError
from blitznet.train.callbacks import TrainCallback
from blitznet.train.config import TrainConfig
from blitznet.train.loader import Batches, LoaderDiedError, translate_loader_errors
from blitznet.train.loop import train
from blitznet.train.run_folder import RunFolder
from support import tiny_models
from support.kills import require_whole_files, temporary_files
from support.training_runs import CHECKPOINTS, LOADER_WARNINGS, assert_equal, lines, tiny_config, toy_sets

pytestmark = LOADER_WARNINGS


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


@pytest.fixture
def whole(tmp_path: Path) -> TrainConfig:
    """A complete run of 8 steps, saved after every third step."""
    config = tiny_config(toy_sets(tmp_path)[:1], tmp_path / "whole", loggers=())
    train(config)
    return config


class AfterStep(TrainCallback):
    """Calls a function after one step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        if step == self.step:
            self.act()


@contextmanager
def limited_file_size(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def require_one_line(error: BlitzNetError) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 400


def assert_resumes(config: TrainConfig, whole: TrainConfig) -> None:
    """Check that the same command ends bit-equal to the whole run."""
    train(config)
    for name in CHECKPOINTS:
        assert_equal(whole.out / name, config.out / name)
    assert [line["step"] for line in lines(config.out)] == list(range(1, 9))
    assert not temporary_files(config.out)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_full_disk_while_saving(whole: TrainConfig, tmp_path: Path, name: str) -> None:
    cut = replace(whole, out=tmp_path / "cut")
    train(cut, stop_after=4)
    before = {file: (cut.out / file).read_bytes() for file in CHECKPOINTS}
    # The state is several times as large as the model, so a limit between them lets only the model be written.
    limit = len(before["last.safetensors"]) + (100 if name == "state.safetensors" else -100)
    with limited_file_size(limit), pytest.raises(UsageError, match=rf"{name}: cannot be written \(File too") as caught:
        train(cut)
    require_one_line(caught.value)
    require_whole_files(cut.out)
    assert (cut.out / "state.safetensors").read_bytes() == before["state.safetensors"]
    assert not temporary_files(cut.out)
    assert_resumes(cut, whole)


def test_full_disk_while_logging(whole: TrainConfig, tmp_path: Path) -> None:
    cut = replace(whole, out=tmp_path / "cut", save_every=100)
    fill = AfterStep(3, lambda: pad_log(cut.out / "log.jsonl", 9_990))
    message = r"log\.jsonl: cannot be written \(File too large\)"
    with pytest.raises(UsageError, match=message) as caught, limited_file_size(10_000):
        train(cut, callbacks=[fill])
    require_one_line(caught.value)
    assert_resumes(replace(cut, save_every=whole.save_every), whole)


def pad_log(path: Path, size: int) -> None:
    """Fill a log up to a size with a line that is cut off, as a full disk leaves it."""
    with path.open("ab") as file:
        file.write(b"{" * (size - path.stat().st_size))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_torn_checkpoint_is_named_and_a_new_start_equals_the_whole_run(
    whole: TrainConfig, tmp_path: Path, share: float
) -> None:
    cut = replace(whole, out=tmp_path / "cut")
    train(cut, stop_after=4)
    state = cut.out / "state.safetensors"
    content = state.read_bytes()
    state.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"state\.safetensors: expected the state of a run, .*; delete it") as caught:
        train(cut)
    require_one_line(caught.value)
    state.unlink()
    assert_resumes(cut, whole)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("best.txt", b"nonsense\n", r"best\.txt: expected a score and a step, got other text; delete the file"),
        ("best.txt", b"\xff\xfe", r"best\.txt: expected a score and a step, got other text; delete the file"),
        ("config.json", b"{", r"config\.json: expected a config as JSON, got other text; delete the file"),
        ("config.json", b"\xff\xfe{", r"config\.json: expected a config as JSON, got other text; delete the file"),
    ],
)
def test_damaged_text_file_is_one_line(
    whole: TrainConfig, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    _, val = toy_sets(tmp_path)
    cut = replace(whole, out=tmp_path / "cut", val=(val,), eval_every=2)
    train(cut, stop_after=4)
    (cut.out / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        train(cut)
    require_one_line(caught.value)


@pytest.mark.parametrize("rest", [b'{"step": 4, "loss/tot', b"\xff\xfe\x00garbage", b"[1, 2]", b'{"loss/total": 1}'])
def test_damaged_end_of_the_log_is_dropped(whole: TrainConfig, tmp_path: Path, rest: bytes) -> None:
    cut = replace(whole, out=tmp_path / "cut")
    train(cut, stop_after=3)
    with (cut.out / "log.jsonl").open("ab") as file:
        file.write(rest)
    assert_resumes(cut, whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_vanished_image_is_one_line_and_its_return_resumes(whole: TrainConfig, tmp_path: Path, workers: int) -> None:
    cut = replace(whole, out=tmp_path / "cut", workers=workers)
    images = sorted((tmp_path / "train" / "JPEGImages").iterdir())
    moved = tmp_path / "moved"

    def vanish() -> None:
        moved.mkdir()
        for image in images:
            image.rename(moved / image.name)

    long = replace(cut, steps=100)  # loaders have read some batches in advance
    with pytest.raises(DataError, match=r"toy_\d{4}\.png") as caught:
        train(long, callbacks=[AfterStep(4, vanish)])
    require_one_line(caught.value)
    require_whole_files(cut.out)
    for image in images:
        (moved / image.name).rename(image)
    restart = replace(whole, out=tmp_path / "again", steps=100)
    train(restart, stop_after=24)
    train(long, stop_after=24)
    for name in CHECKPOINTS:
        assert_equal(restart.out / name, cut.out / name)


@pytest.mark.slow  # a killed loader can end the process of the tests
def test_killed_loader_process_is_one_line_and_the_run_resumes(whole: TrainConfig, tmp_path: Path) -> None:
    cut = replace(whole, out=tmp_path / "cut", workers=2)

    others = set(multiprocessing.active_children())

    def kill_a_loader() -> None:
        loaders = [process for process in multiprocessing.active_children() if process not in others]
        assert len(loaders) == 2
        os.kill(loaders[0].pid or 0, signal.SIGKILL)

    with pytest.raises(
        LoaderDiedError,
        match=r"one that ended \((DataLoader worker|it did not hand over) .* run the same command to resume",
    ) as caught:
        train(replace(cut, steps=1000), callbacks=[AfterStep(4, kill_a_loader)])
    require_one_line(caught.value)
    require_whole_files(cut.out)
    assert RunFolder(cut.out).state.exists()
    restart = replace(whole, out=tmp_path / "again", steps=1000)
    train(restart, stop_after=24)
    train(replace(cut, steps=1000), stop_after=24)
    for name in CHECKPOINTS:
        assert_equal(restart.out / name, cut.out / name)


def test_other_errors_are_not_those_of_loaders() -> None:
    with pytest.raises(RuntimeError, match=r"^out of memory$"), translate_loader_errors():
        raise RuntimeError("out of memory")
    with pytest.raises(ConnectionResetError), translate_loader_errors():
        raise ConnectionResetError("of a logger")


def test_a_loader_that_ends_while_it_hands_over_a_batch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ConnectionResetError, ConnectionRefusedError, EOFError, FileNotFoundError):

        def connect(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("multiprocessing.connection.Client", connect)
        with pytest.raises(LoaderDiedError, match="one that ended") as caught, translate_loader_errors():
            multiprocessing.resource_sharer.DupFd(0).detach()
        require_one_line(caught.value)


def _ignore_sigterm_and_sleep() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def test_workers_that_do_not_end_are_killed_at_the_end_of_the_process() -> None:
    """A worker that was killed from outside can hold a lock that the others wait for."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_ignore_sigterm_and_sleep, daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert workers[0].pid is not None
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    loaded = MagicMock(_workers=workers)
    Batches(loaded).close()
    assert not loaded._shutdown_workers.called
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL] * 2
    loaded = MagicMock(_workers=[])
    Batches(loaded).close()
    assert loaded._shutdown_workers.called
