"""The log of a run: JSON lines, which experiment loggers receive too, and a plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from blitznet.core.files import atomic_path, atomic_write, translate_write_errors
from blitznet.train.callbacks import RunEvaluation, TrainCallback
from blitznet.train.loggers import ExperimentLogger, LoggerName, open_logger


class RunLog(TrainCallback):
    """`log.jsonl` in the run folder; a resumed run drops the lines after its checkpoint."""

    def __init__(
        self,
        folder: Path,
        *,
        after: int,
        is_main_process: bool = True,
        loggers: Sequence[LoggerName] = ("tensorboard",),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the log.

        Args:
            folder: The run folder.
            after: Step of the checkpoint; 0 for a new run.
            is_main_process: Only this process writes files and opens loggers.
            loggers: Experiment trackers that receive the lines too.
            settings: Hyperparameters for the loggers.
        """
        self.path = folder / "log.jsonl"
        self._evaluated_steps: set[int] = set()
        self._loggers: list[ExperimentLogger] = []
        if not is_main_process:
            return
        self._loggers = [open_logger(name, folder, after=after, settings=settings or {}) for name in loggers]
        lines = [line for line in read_log(self.path) if line["step"] <= after]
        self._evaluated_steps = {line["step"] for line in lines if _has_score(line)}
        atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on_end(failed=kind is not None)

    def has_scores(self, step: int) -> bool:
        """Whether the log has the scores of a step."""
        return step in self._evaluated_steps

    def num_evaluations_after(self, step: int) -> int:
        """Number of later steps with scores."""
        return sum(evaluated > step for evaluated in self._evaluated_steps)

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:
        """Write one line with the losses; loggers group names by their slash."""
        self._write(step, values)
        for logger in self._loggers:
            logger.on_step(step, num_steps, values)

    def on_eval(self, evaluation: RunEvaluation) -> None:
        """Write one line with the scores."""
        self._write(evaluation.step, evaluation.scores)
        self._evaluated_steps.add(evaluation.step)
        for logger in self._loggers:
            logger.on_eval(evaluation)

    def on_end(self, *, failed: bool) -> None:
        """Close the loggers."""
        for logger in self._loggers:
            logger.on_end(failed=failed)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        with translate_write_errors(self.path), self.path.open("a") as file:
            file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in values.items()}}) + "\n")


def _has_score(line: Mapping[str, Any]) -> bool:
    return any(name.startswith("score/") for name in line)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a log up to the first broken one: a crash or a full disk may have cut off the last one."""
    lines = []
    for text in path.read_bytes().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:  # not JSON, or not UTF-8
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        lines.append(line)
    return lines


def plot_log(path: Path, out: Path) -> None:
    """Plot the losses of a log, and below them the scores, over the steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lines = read_log(path)
    figure, axes = plt.subplots(2, 1, figsize=(8, 7), sharex=True, constrained_layout=True)
    for axis, group in zip(axes, ("loss/", "score/"), strict=True):
        for name in sorted({key for line in lines for key in line if key.startswith(group)}):
            points = [(line["step"], line[name]) for line in lines if name in line]
            style = "o-" if group == "score/" else "-"
            axis.plot(*zip(*points, strict=True), style, label=name.removeprefix(group), linewidth=1)
        if axis.lines:
            axis.legend()
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("loss")
    axes[0].set_yscale("log")
    axes[1].set_ylabel("score")
    axes[1].set_xlabel("step")
    with atomic_path(out, durable=False) as temporary, translate_write_errors(out):
        figure.savefig(temporary, dpi=120)
    plt.close(figure)
