"""`torchrun` on loopback: 2 and 4 processes train and evaluate as one; a killed one restarts from the checkpoint."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.config import TrainConfig
from blitznet.train.loop import train
from support import tiny_models
from support.kills import require_whole_files, temporary_files
from support.training_runs import TESTS, lines, tiny_config, toy_sets, weights

pytestmark = pytest.mark.slow
STEPS = 8


def torchrun(config: TrainConfig, *, processes: int, kill: str = "", max_restarts: int = 0) -> str:
    """Run a config under torchrun; returns its messages."""
    words = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={max_restarts}"]
    script = str(TESTS / "support" / "torchrun_main.py")
    completed = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, script, config.to_json(), kill],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "LOGLEVEL": "INFO",  # torchrun reports restarts
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        },
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stderr


def make_config(root: Path, name: str, **changes: Any) -> TrainConfig:
    """A run of 8 images a step, two for each of four processes, whose evaluation cannot be split evenly."""
    data, val = toy_sets(root, images=9)
    settings = {"steps": STEPS, "batch": 8, "val": (val,), "eval_every": 4, "save_every": 2, "loggers": ()}
    return tiny_config((data,), root / name, **{**settings, **changes})


def assert_close(first: Path, second: Path, tolerance: float) -> None:
    expected, actual = weights(first), weights(second)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=tolerance)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_train_and_evaluate_as_one(tmp_path: Path, processes: int) -> None:
    tiny_models.register()
    frozen = {"freeze_bn": ("all",), "optimizer": "sgd", "lr": 0.02}  # the statistics of a batch are each process's own
    alone = make_config(tmp_path, "alone", **frozen)
    train(alone)
    together = make_config(tmp_path, "together", **frozen)
    torchrun(together, processes=processes)
    assert_close(alone.out / "last.safetensors", together.out / "last.safetensors", 1e-4)
    assert [line["step"] for line in lines(together.out) if "loss/total" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines(together.out) if "score/miou" in line] == [4, 8]
    net, spec = load_model(together.out / "last.safetensors")
    datasets = open_sources(together.val, spec.classes)
    total = evaluate(Predictor(TorchEngine(net, spec)), datasets, EvalConfig(tasks=spec.tasks)).total
    scores = lines(together.out)[-1]
    assert scores["score/miou"] == pytest.approx(total.segmentation.miou, rel=1e-5)
    assert scores["score/ap50"] == pytest.approx(total.detection.ap50_area, rel=1e-5)
    assert sorted(path.name for path in together.out.iterdir()) == sorted(path.name for path in alone.out.iterdir())


def test_killed_process_is_restarted_from_the_checkpoint(tmp_path: Path) -> None:
    whole = make_config(tmp_path, "whole")
    torchrun(whole, processes=4)
    cut = make_config(tmp_path, "cut")
    messages = torchrun(cut, processes=4, kill="2:6", max_restarts=1)
    assert "failed (exitcode: -9) local_rank: 2" in messages
    assert "restart_count=1" in messages
    assert_close(whole.out / "last.safetensors", cut.out / "last.safetensors", 1e-4)
    assert_close(whole.out / "state.safetensors", cut.out / "state.safetensors", 1e-4)
    assert [line["step"] for line in lines(cut.out) if "loss/total" in line] == list(range(1, STEPS + 1))
    require_whole_files(cut.out)
    assert not temporary_files(cut.out)
