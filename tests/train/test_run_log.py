"""RunLog: lines, events, a plot, and the lines that a resumed run drops."""

import builtins
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from blitznet.core.errors import MissingExtra
from blitznet.metrics.report import SetScores
from blitznet.train.callbacks import RunEvaluation
from blitznet.train.run_log import RunLog, plot_log, read_log


def test_log_writes_lines_and_events(tmp_path: Path) -> None:
    with RunLog(tmp_path, after=0) as log:
        log.on_step(1, 9, {"loss/total": 15.123456789, "lr": 1.23456789e-7})
        log.on_step(2, 9, {"loss/total": 14.0, "score/ap50": 0.5})
    assert read_log(tmp_path / "log.jsonl") == [
        {"step": 1, "loss/total": 15.1235, "lr": 1.23457e-7},
        {"step": 2, "loss/total": 14.0, "score/ap50": 0.5},
    ]
    events = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"loss/total" in events[0].read_bytes()


def test_resuming_drops_later_lines(tmp_path: Path) -> None:
    with RunLog(tmp_path, after=0) as log:
        for step in range(1, 6):
            log.on_step(step, 9, {"loss/total": float(step)})
        log.on_step(3, 9, {"score/miou": 0.3})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "loss/to')  # killed while writing
    with RunLog(tmp_path, after=3) as log:
        assert [line["step"] for line in read_log(log.path)] == [1, 2, 3, 3]
        assert log.has_scores(3)
        assert not log.has_scores(2)
        assert not log.has_scores(4)
        log.on_step(4, 9, {"loss/total": 4.5})
        log.on_eval(RunEvaluation(4, {"score/miou": 0.2}, SetScores("all sets", 3), is_best=True))
        assert [log.num_evaluations_after(step) for step in (0, 3, 4)] == [2, 1, 0]
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 3, 4, 4]
    assert [path.name for path in tmp_path.glob("*.tmp")] == []


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    with RunLog(tmp_path, after=0, is_main_process=False) as log:
        assert not log.has_scores(0)
    assert list(tmp_path.iterdir()) == []


def test_missing_package_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def blocked(name: str, *rest: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingExtra, match=r"--loggers tensorboard needs `pip install 'blitznet\[train\]'`"):
        RunLog(tmp_path, after=0)


def test_plot_of_an_empty_and_a_filled_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    plot_log(path, tmp_path / "empty.png")
    path.write_text('{"step": 1, "loss/total": 9, "lr": 1}\n{"step": 2, "loss/total": 8, "score/ap50": 0.1}\n')
    plot_log(path, tmp_path / "plot.png")
    with Pillow.open(tmp_path / "plot.png") as plot, Pillow.open(tmp_path / "empty.png") as empty:
        assert plot.size == empty.size
        assert plot.tobytes() != empty.tobytes()
