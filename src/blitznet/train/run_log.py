"""What a run writes beside its weights: a line of JSON for every report, which reporters hear too, and a plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from blitznet.core.files import atomic_write
from blitznet.train.loggers import ExperimentLogger, LoggerName, open_logger


class RunLog:
    """`log.jsonl` of a run folder; on resuming, lines after the step are dropped."""

    def __init__(
        self,
        folder: Path,
        *,
        after: int,
        leads: bool = True,
        reporters: Sequence[LoggerName] = ("tensorboard",),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """reporters: who else hears; settings: what they are told of the run. Only the process that leads writes."""
        self.path = folder / "log.jsonl"
        self._lines: list[dict[str, Any]] = []
        self._reporters: list[ExperimentLogger] = []
        if not leads:
            return
        self._reporters = [open_logger(name, folder, after=after, settings=settings or {}) for name in reporters]
        self._lines = [line for line in read_log(self.path) if line["step"] <= after]
        atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in self._lines).encode())

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reporter in self._reporters:
            reporter.close(failed=kind is not None)

    def scored(self, step: int) -> bool:
        """Whether the scores of this step were written before the run was taken up again."""
        return any(line["step"] == step and any(name.startswith("score/") for name in line) for line in self._lines)

    def write(self, step: int, **values: float) -> None:
        """One report: numbers by name; names with a slash are grouped by who shows them."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in values.items()}}) + "\n")
        for reporter in self._reporters:
            reporter.report(step, values)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every whole line of a log; a last line cut off by a crash is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def plot_log(path: Path, to: Path) -> None:
    """Losses above, scores below, over the steps."""
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
    figure.savefig(to, dpi=120)
    plt.close(figure)
