"""--batch auto: what fits, on a CPU and on a simulated GPU; a resumed run keeps its batch."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blitznet.cli.train import read
from blitznet.core.errors import UsageError
from blitznet.train import auto_batch
from blitznet.train.auto_batch import (
    count_saved_bytes,
    free_memory,
    largest_fitting,
    make_trial,
    random_batch,
    resolve_batch,
    step_memory,
)
from blitznet.train.config import AUTO_BATCH, TrainConfig
from blitznet.train.distributed import ProcessGroup
from blitznet.train.initialize import make_network
from blitznet.train.loop import train
from support import tiny_models
from support.training_runs import assert_equal, tiny_config, toy_sets

CPU, CUDA = (ProcessGroup(0, 1, torch.device(name)) for name in ("cpu", "cuda"))
MB = 10**6


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


def linear(images: int) -> int:
    return 50 * MB + images * 10 * MB


@pytest.mark.parametrize(
    ("limit", "max_images", "expected"),
    [
        (210 * MB, 1024, (16, 210 * MB)),
        (209 * MB, 1024, (8, 130 * MB)),
        (10**12, 1024, (1024, 50 * MB + 10240 * MB)),
        (10**12, 20, (16, 210 * MB)),
        (70 * MB, 1024, (2, 70 * MB)),
        (69 * MB, 1024, (0, 70 * MB)),
    ],
)
def test_the_largest_power_of_two_fits(limit: int, max_images: int, expected: tuple[int, int]) -> None:
    assert largest_fitting(linear, limit, max_images=max_images) == expected


@pytest.mark.parametrize("fails", [torch.OutOfMemoryError, None])
def test_on_a_gpu_the_choice_is_tried(fails: type[Exception] | None) -> None:
    """From 64 images on a step needs more than the trials predict, or does not fit at all."""
    tried = []

    def measure(images: int) -> int:
        tried.append(images)
        if images >= 64:
            if fails is not None:
                raise fails
            return 10**13
        return linear(images)

    images, _ = largest_fitting(measure, 10**12, max_images=256, is_exact=True)
    assert images == 32
    assert tried == [2, 4, 256, 128, 64, 32]


def test_no_image_fits_on_a_full_gpu() -> None:
    def measure(images: int) -> int:
        raise torch.OutOfMemoryError

    assert largest_fitting(measure, 10**9, max_images=256)[0] == 0


def tiny_trial(**changes: Any) -> tuple[TrainConfig, Any]:
    config = tiny_config(("voc:x@train",), Path("x"), batch=AUTO_BATCH, **changes)
    net, spec = make_network(config, ())
    return config, (net, spec)


def test_memory_grows_with_the_images() -> None:
    config, (net, spec) = tiny_trial()
    trial = make_trial(net, spec, config, CPU.device)
    two, four, eight = (step_memory(trial, images) for images in (2, 4, 8))
    assert 0 < two < four < eight
    assert eight - four == pytest.approx(2 * (four - two), rel=0.1)


def test_saved_bytes_are_those_of_the_tensors_of_the_backward_pass() -> None:
    x = torch.zeros(10, 100, requires_grad=True)
    with count_saved_bytes() as count:
        y = x.exp()  # saves its result
        y.tanh()  # saves its result
        (y.view(100, 10) * 2).sum()  # saves nothing
    assert count() == 2 * 4000


def test_trials_leave_the_network_and_the_generator_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    config, (net, spec) = tiny_trial()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    monkeypatch.setattr(auto_batch, "available_memory", lambda: 10**9)
    resolved, choice = resolve_batch(net, spec, config, CPU, num_images=1000)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert choice is not None
    assert resolved.batch == choice.batch
    assert choice.step_bytes <= choice.limit == 600 * MB
    assert choice.notice(0.6).startswith(f"--batch auto: {choice.batch} images, about 0.")
    assert choice.notice(0.6).endswith(" of 0.60 GB (0.6 of the 1.00 GB that are free)")


@pytest.mark.parametrize(
    ("free", "changes", "num_images", "expected"),
    [
        (10**12, {}, 40, 32),
        (10**12, {"accumulate": 4}, 40, 32),
        (10**12, {"accumulate": 4}, 1, 8),
    ],
)
def test_the_batch_has_no_more_images_than_an_epoch(
    monkeypatch: pytest.MonkeyPatch, free: int, changes: dict[str, Any], num_images: int, expected: int
) -> None:
    config, (net, spec) = tiny_trial(**changes)
    monkeypatch.setattr(auto_batch, "available_memory", lambda: free)
    monkeypatch.setattr(auto_batch, "step_memory", lambda trial, images, before: linear(images))
    assert resolve_batch(net, spec, config, CPU, num_images=num_images)[0].batch == expected


def test_too_little_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    config, (net, spec) = tiny_trial()
    monkeypatch.setattr(auto_batch, "available_memory", lambda: 10_000)
    with pytest.raises(UsageError, match=r"--batch auto: expected memory for 2 images, got 0\.00 GB"):
        resolve_batch(net, spec, config, CPU, num_images=100)


def test_free_memory_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7 * MB, 9 * MB))
    assert free_memory(CUDA) == 7 * MB
    monkeypatch.setattr(auto_batch, "available_memory", lambda: 9 * MB)
    assert free_memory(replace(CPU, world_size=3)) == 3 * MB
    monkeypatch.setattr(auto_batch, "available_memory", lambda: None)
    with pytest.raises(UsageError, match="expected a system that states its free memory"):
        free_memory(CPU)


class FakeTrial:
    """A trial on a GPU whose allocator is simulated."""

    def __init__(self, config: TrainConfig, spec: Any) -> None:
        self.config, self.spec, self.group = config, spec, CUDA
        self.optimizer: Any = type("Optimizer", (), {"state": {}})()
        self.peak = 0
        self.images: list[int] = []

    def step(self, batches: Any, step: int) -> None:
        images = len(next(batches))
        self.images.append(images)
        self.peak = linear(images) + 5 * MB * bool(self.optimizer.state)
        self.optimizer.state = {"exp_avg": 1}


def test_peak_on_a_gpu_includes_the_state_of_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    config, (_, spec) = tiny_trial()
    trial: Any = FakeTrial(config, spec)
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("empty"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: trial.peak)
    assert step_memory(trial, 2, before=MB) == linear(2) + 4 * MB
    assert step_memory(trial, 4, before=MB) == linear(4) + 4 * MB
    assert trial.images == [2, 2, 4]
    assert calls == ["empty", "reset"] * 2


def test_random_batches_have_the_sizes_of_training() -> None:
    config, (_, spec) = tiny_trial(mask_stride=2)
    batch = random_batch(spec, config, 3)
    assert batch.images.shape == (3, 3, 64, 64)
    assert batch.class_map.shape == (3, 32, 32)
    assert len(batch.labels) == 12


def stop_early(config: TrainConfig, notify: Callable[[str], None] | None = None) -> None:
    train(config, notify=notify, stop_after=3)


def test_a_resumed_run_keeps_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, though other memory is free when it is resumed."""
    data, _ = toy_sets(tmp_path, images=9)
    config = tiny_config((data,), tmp_path / "run", batch=AUTO_BATCH, steps=5, save_every=3)
    notices: list[str] = []
    stop_early(config, notices.append)
    assert any(notice.startswith("--batch auto: 8 images") for notice in notices)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["batch"] == 8
    monkeypatch.setattr(auto_batch, "available_memory", lambda: 10_000)
    train(config)
    whole = train(replace(config, batch=8, out=tmp_path / "whole"))
    assert_equal(tmp_path / "run" / "state.safetensors", whole.parent / "state.safetensors")


def test_auto_is_a_value_of_the_flag() -> None:
    config = read(["--data", "voc:a@b", "--batch", "auto"])
    assert isinstance(config, TrainConfig)
    assert config.batch == AUTO_BATCH
    config = read(["--data", "voc:a@b", "--batch", "8"])
    assert isinstance(config, TrainConfig)
    assert config.batch == 8
