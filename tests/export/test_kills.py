"""Exports and conversions that are killed at random moments leave no half file, and the same command completes them.

BLITZNET_KILLS sets the number of kills of each command; the default is 20.
"""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.api import open_engine
from blitznet.core.outputs import Outputs
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from support import synthetic_data, tiny_models
from support.kills import kill_within, run_command, start, visible_files, wait_until_ended

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("BLITZNET_KILLS", "20"))


def duration_of(*words: str) -> float:
    """Seconds of a command that is not killed."""
    begin = time.monotonic()
    wait_until_ended(start(run_command, *words))
    return time.monotonic() - begin


def outputs(path: Path) -> Outputs:
    images = np.random.default_rng(0).integers(0, 256, (1, *tiny_models.PAPER.size, 3), np.uint8)
    result = open_engine(path, threads=1, trust=True).run(images)
    assert isinstance(result, Outputs)
    return result


def assert_complete(path: Path, whole: Path) -> None:
    first, second = outputs(path), outputs(whole)
    for name in ("offsets", "logits", "segmentation_logits"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("openvino", ".openvino"), ("torch", ".pt2")])
def test_killed_export_leaves_no_half_file(tmp_path: Path, to: str, suffix: str) -> None:
    tiny_models.register()
    source = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    save_model(source, build(tiny_models.PAPER), tiny_models.PAPER)
    (tmp_path / "notes.txt").write_text("mine")
    mine = visible_files(tmp_path)
    whole = tmp_path / "whole" / f"model{suffix}"
    seconds = duration_of("export", str(source), "--to", to, "--out", str(whole))
    out, rng = tmp_path / "cut" / f"model{suffix}", random.Random(0)
    for _ in range(KILLS):
        kill_within(start(run_command, "export", str(source), "--to", to, "--out", str(out)), seconds, rng)
        assert mine.items() <= visible_files(tmp_path).items()
        if out.exists():
            assert_complete(out, whole)
            out.unlink()
    wait_until_ended(start(run_command, "export", str(source), "--to", to, "--out", str(out)))
    assert_complete(out, whole)


@pytest.mark.parametrize("to", ["voc", "yolo", "coco", "folder"])
def test_killed_conversion_leaves_no_half_file(tmp_path: Path, to: str) -> None:
    text = synthetic_data.write_coco(tmp_path / "source", synthetic_data.draw(40))
    words = ("data", "convert", text, "--to", to, "--lossy", "--out")
    source = visible_files(tmp_path / "source")
    # One name for all: VOC's annotations contain that of their folder.
    seconds = duration_of(*words, str(tmp_path / "whole" / "converted"))
    whole, rng = visible_files(tmp_path / "whole" / "converted"), random.Random(0)
    for k in range(KILLS):
        out = tmp_path / f"cut{k}" / "converted"
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")
        kill_within(start(run_command, *words, str(out)), seconds, rng)
        assert visible_files(out).items() <= {**whole, "notes.txt": b"mine"}.items()
        wait_until_ended(start(run_command, *words, str(out)))
        assert visible_files(out) == {**whole, "notes.txt": b"mine"}
    assert visible_files(tmp_path / "source") == source
