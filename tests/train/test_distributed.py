"""Two processes train the same weights as one."""

import copy
import os
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from blitznet.core.errors import UsageError
from blitznet.core.spec import ALL_TASKS, Task
from blitznet.data.augment import PLAIN
from blitznet.data.sources import open_sources
from blitznet.nets.blitznet import build
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import (
    ProcessGroup,
    ProcessLostError,
    init_distributed,
    resolve_device,
    translate_lost_processes,
)
from blitznet.train.loader import AugmentedDataset, make_loader
from blitznet.train.loop import train
from blitznet.train.sampler import EpochSampler, list_entries
from blitznet.train.trainer import wrap_model
from support import synthetic_data, tiny_models
from support.small_networks import fpn_spec
from support.training_runs import free_port, lines, own_process, tiny_config, toy_sets, weights

STEPS, BATCH = 4, 4
CPU = torch.device("cpu")


def has_uneven_parts(text: str, seed: int) -> bool:
    """Whether the two processes get different numbers of objects in some step."""
    datasets = open_sources([text], synthetic_data.NAMES)
    entries = list_entries(datasets, 0.0)
    samples = AugmentedDataset(datasets, PLAIN, size=(64, 64), map_size=(8, 8))
    sampler = EpochSampler(entries, torch.ones(len(entries)).double().numpy(), seed)
    halves = [
        islice(make_loader(samples, sampler, batch=BATCH, first=0, rank=r, world_size=2), STEPS) for r in range(2)
    ]
    return any(len(a.labels) != len(b.labels) for a, b in zip(*halves, strict=True))


@pytest.mark.parametrize("accumulate", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_processes_equal_one(tmp_path: Path, accumulate: int) -> None:
    tiny_models.register()
    data = toy_sets(tmp_path)[:1]
    assert has_uneven_parts(data[0], 0)
    settings = {"steps": STEPS, "batch": BATCH, "freeze_bn": ("all",), "optimizer": "sgd", "lr": 0.02}
    alone = tiny_config(data, tmp_path / "alone", policy="plain", **settings)
    train(alone)
    both = tiny_config(data, tmp_path / "both", policy="plain", accumulate=accumulate, **settings)
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [own_process(both, **environment, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    expected, actual = weights(alone.out / "last.safetensors"), weights(both.out / "last.safetensors")
    initial = tiny_config(data, tmp_path / "initial", policy="plain", **{**settings, "lr": 1e-12})
    train(initial)
    assert any(
        (value - expected[name]).abs().max() > 1e-3 for name, value in weights(initial.out / "last.safetensors").items()
    ), "the weights have changed"
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=1e-4)
    assert [line["step"] for line in lines(both.out)] == [1, 2, 3, 4]


@pytest.mark.slow
def test_patience_ends_all_processes(tmp_path: Path) -> None:
    tiny_models.register()
    data = toy_sets(tmp_path)
    settings = {"steps": 8, "freeze_bn": ("all",), "lr": 1e-12, "ema": None, "eval_every": 2, "patience": 1}
    config = tiny_config(data[:1], tmp_path / "run", val=data[1:], policy="plain", **settings)
    environment = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [own_process(config, **environment, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert [line["step"] for line in lines(config.out) if "score/miou" in line] == [2, 4]


def test_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    with init_distributed("cpu") as group:
        assert group == ProcessGroup(0, 1, torch.device("cpu"))
        assert group.is_main_process
        assert group.all_reduce_sum(3, 4) == [3, 4]
        assert group.all_reduce_any(True)
        assert not group.all_reduce_any(False)
        group.barrier()
        assert group.gather("value") == ["value"]
        group.broadcast([tensor := torch.ones(2)])
        assert tensor.tolist() == [1, 1]
        group.require_equal(3, "expected the same")
    assert not ProcessGroup(1, 2, torch.device("cpu")).is_main_process
    assert "RANK" not in os.environ


def test_a_lost_process_is_one_line_and_other_errors_stay() -> None:
    group, lost = ProcessGroup(1, 4, torch.device("cpu")), "[gloo/transport/tcp/pair.cc:534] Connection closed by peer"
    message = r"^process 1: expected 4 processes, .*--max-restarts$"
    with pytest.raises(ProcessLostError, match=message), translate_lost_processes(group):
        raise RuntimeError(lost)
    for world_size, text in ((4, "out of memory"), (1, lost)):
        sized = replace(group, world_size=world_size)
        with pytest.raises(RuntimeError, match=r"out of|closed by") as caught, translate_lost_processes(sized):
            raise RuntimeError(text)
        assert type(caught.value) is RuntimeError


def test_processes_with_different_checkpoints_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of one machine is not that of the others: here step 0, elsewhere step 40."""
    monkeypatch.setattr(ProcessGroup, "all_reduce_min", lambda _, value: min(value, 40 if value >= 0 else -40))
    group = ProcessGroup(1, 2, torch.device("cpu"))
    group.require_equal(40, "runs/x: expected the same state")
    for step in (39, 41):
        with pytest.raises(UsageError, match=f"runs/x: expected the same state, got {step} in process 1"):
            group.require_equal(step, "runs/x: expected the same state")


@pytest.mark.parametrize("device", ["0", "gpu", "0,1", "CPU", "mps", "cuda:0", ""])
def test_unknown_devices_are_refused_in_one_line(device: str) -> None:
    with pytest.raises(UsageError, match="--device: expected cpu, cuda or auto, got"):
        resolve_device(device)


def test_the_device_is_the_one_that_torch_can_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [resolve_device(device) for device in ("cpu", "auto")] == ["cpu", "cpu"]
    with pytest.raises(UsageError, match="--device cuda: expected a GPU that this torch can use, got none"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [resolve_device(device) for device in ("cpu", "cuda", "auto")] == ["cpu", "cuda", "cuda"]


@pytest.mark.parametrize("tasks", [ALL_TASKS, ("detection",), ("segmentation",)])
def test_parameters_without_gradient_are_allowed(tasks: tuple[Task, ...], tmp_path: Path) -> None:
    """The class map of the default model does not read the coarsest maps; torch would refuse the second step."""
    torch.manual_seed(0)
    spec = replace(fpn_spec(channels=16), size=(64, 64), tasks=tasks)
    net = build(spec)
    images = torch.rand(2, 3, 64, 64)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        models = [wrap_model(copy.deepcopy(net), TrainConfig(), ProcessGroup(0, size, CPU)) for size in (1, 2)]
        for model in models:
            for _ in range(2):
                model.zero_grad()
                outputs = model(images)
                tensors = (outputs.offsets, outputs.logits, outputs.segmentation_logits)
                sum(tensor.square().mean() for tensor in tensors if tensor is not None).backward()
    finally:
        dist.destroy_process_group()
    gradients = [[parameter.grad for parameter in model.parameters()] for model in models]
    assert any(gradient is None for gradient in gradients[0]) == (tasks == ("segmentation",))
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected)
