"""What a person sees of a run: in a terminal of 80 columns, and in a file."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from blitznet.cli.train_progress import TrainProgress, count_text, fit_parts, format_seconds, header_lines, scores_text
from blitznet.core.models import get_spec
from blitznet.data.coverage import Coverage, SetCoverage
from blitznet.train.callbacks import RunEvaluation, RunStart

VALUES = {"loss/segmentation": 0.36, "loss/classification": 2.95, "loss/localization": 1.37, "images_per_second": 33.3}
FAKE = """
import time
from blitznet.cli.train_progress import TrainProgress
with TrainProgress(log_every=10) as progress:
    for step in range(1, 101):
        time.sleep(0.003)
        progress.on_step(step, 600, {values!r})
"""


def in_process(stderr: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    return subprocess.Popen([sys.executable, "-c", FAKE.format(values=VALUES)], stderr=stderr, env=environment)


def test_a_file_gets_one_whole_line_every_log_every_steps() -> None:
    lines = in_process(subprocess.PIPE).communicate()[1].decode().splitlines()
    assert len(lines) == 10
    losses = "segmentation 0.36, classification 2.95, localization 1.37"
    assert re.fullmatch(rf"step 10/600: left [0-9:]+, 33.3 images/s, {losses}", lines[0])
    assert not any("…" in line for line in lines)


def test_a_terminal_of_80_columns_shows_step_and_time() -> None:
    control, terminal = pty.openpty()
    process = in_process(terminal)
    os.close(terminal)
    content = b""
    with suppress(OSError):  # the end of a terminal whose process has ended
        while chunk := os.read(control, 1 << 16):
            content += chunk
    os.close(control)
    assert process.wait() == 0
    text = content.decode(errors="replace")
    assert re.search(r"100/600  [0-9:]+  left [0-9:]+  loss 4.68  33.3 images/s", text)
    assert "…" not in text


def coverage_of(title: str, *, objects: list[int], masks: list[int], images: int = 150) -> SetCoverage:
    return SetCoverage(
        title=title,
        num_images=images,
        box_images=images if any(objects) else 0,
        mask_images=images if any(masks) else 0,
        objects=np.asarray(objects),
        masks=np.asarray(masks),
        all_masks_read=True,
        annotated_boxes=np.asarray(objects) > 0,
        annotated_masks=np.asarray(masks) > 0,
        teacher_masks=np.zeros(len(objects), np.bool_),
    )


def test_the_header_lists_what_is_trained_on() -> None:
    names = ("cheetah", "raccoon", "tiger")
    sets = (
        coverage_of("voc:raccoons@train", objects=[0, 173, 0], masks=[0, 0, 0]),
        coverage_of("folder:animals@train", objects=[0, 0, 0], masks=[50, 0, 100]),
    )
    start = RunStart(
        spec=get_spec("blitznet300-lite"),
        coverage=Coverage(names, sets),
        evaluation=[("voc:raccoons@val", 46)],
        num_steps=127,
        completed_steps=0,
        batch=8,
        images_per_epoch=300,
        device="cpu",
    )
    assert list(header_lines(start)) == [
        "data: 300 images, 173 boxes, 150 masks of 3 classes: cheetah, raccoon, tiger",
        "  images    boxes    masks  set",
        "     150      173        0  voc:raccoons@train",
        "                             boxes: raccoon 173",
        "     150        0      150  folder:animals@train",
        "                             masks: tiger 100, cheetah 50",
        "run: 127 steps of 8 images = 3.39 epochs, on cpu",
        "evaluation: voc:raccoons@val (46 images)",
    ]


def test_every_evaluation_shows_its_scores_and_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainProgress(log_every=10, clock=lambda: 0.0)
    for step, ap, is_best in ((50, 0.666, True), (100, 0.5, False)):
        scores: Any = SimpleNamespace()
        progress.on_eval(RunEvaluation(step, {"score/ap50": ap, "score/miou": 0.453}, scores, is_best))
    assert capsys.readouterr().err.splitlines() == [
        "step 50: AP50 66.6, mIoU 45.3 (best so far)",
        "step 100: AP50 50.0, mIoU 45.3 (best so far: step 50)",
    ]


def test_texts() -> None:
    assert [format_seconds(seconds) for seconds in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
    assert fit_parts(["100/600", "0:05", "loss 1.00"], 14) == "100/600  0:05"
    assert fit_parts(["100/600"], 3) == "100/600"
    assert scores_text({}) == "no score: the evaluation sets have no object of the trained classes"
    names = tuple("abcdefghij")
    assert count_text(names, np.arange(10)) == "j 9, i 8, h 7, g 6, f 5, e 4, d 3, c 2 and 1 more class"
    assert count_text(names, np.zeros(10, np.int64)) == ""
