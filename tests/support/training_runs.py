"""Short runs of the tiny network on toy images, in this process or in one of its own."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from blitznet.train.config import TrainConfig
from support import synthetic_data, tiny_models

TESTS = Path(__file__).parents[1]
CHECKPOINTS = ("state.safetensors", "last.safetensors")
"""files of a run folder that equal runs have in common"""
LOADER_WARNINGS = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning"),
]
"""marks of tests with loader processes: warnings of torch and Python about more processes than cores, and about fork"""


def toy_sets(root: Path, *, images: int = 7) -> tuple[str, str]:
    """A training and an evaluation set."""
    evaluation = [replace(drawing, id=f"val_{k}") for k, drawing in enumerate(synthetic_data.draw(3, seed=2))]
    return synthetic_data.write_voc(root / "train", synthetic_data.draw(images, seed=1)), synthetic_data.write_voc(
        root / "val", evaluation, "val"
    )


def tiny_config(data: tuple[str, ...], out: Path, **changes: Any) -> TrainConfig:
    base = TrainConfig(
        model="tiny",
        init="random",
        data=data,
        steps=8,
        batch=4,
        lr=3e-3,
        encoder_lr_mult=0.5,
        warmup=2,
        ema=0.9,
        clip_grad=10.0,
        policy="light",
        workers=0,
        threads=1,
        device="cpu",
        save_every=3,
        log_every=1,
        out=out,
    )
    return replace(base, **changes)


def own_process(config: TrainConfig, **environment: str) -> "subprocess.Popen[str]":
    """Start the run in a new process."""
    fields = json.loads(config.to_json())
    script = f"import sys; sys.path[:0] = {[str(TESTS)]!r}; from support.training_runs import main; main(sys.argv[1])"
    return subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(fields)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def main(fields: str) -> None:
    from blitznet.train.loop import train

    tiny_models.register()
    values: dict[str, Any] = json.loads(fields)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    values |= {name: Path(values[name]) for name in ("root", "out")}
    train(TrainConfig(**values))


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def assert_equal(first: Path, second: Path) -> None:
    """Check that two files have the same tensors bit for bit."""
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    different = [name for name, value in a.items() if not torch.equal(value, b[name])]
    assert not different
