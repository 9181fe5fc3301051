"""What `blitznet train` prints at the end of a run: scores, files and the next commands."""

import shlex
from collections.abc import Iterator

from blitznet.cli.console import stdout_console
from blitznet.report.eval_tables import render_class_table
from blitznet.report.percent import percent
from blitznet.train.callbacks import RunEvaluation, TrainCallback
from blitznet.train.config import TrainConfig
from blitznet.train.run_folder import RunFolder
from blitznet.train.run_log import read_log

_SCORES = {"score/ap50": "AP50 area", "score/ap50_frequent": "AP50 frequent", "score/miou": "mIoU"}
"""name in the log -> title"""


class LastEvaluation(TrainCallback):
    """Keeps the last evaluation of a run."""

    def __init__(self) -> None:
        self.evaluation: RunEvaluation | None = None

    def on_eval(self, evaluation: RunEvaluation) -> None:
        """Keep the evaluation."""
        self.evaluation = evaluation


def print_summary(config: TrainConfig, evaluation: RunEvaluation | None) -> None:
    """Print the summary of a run.

    Args:
        config: The config of the run.
        evaluation: The last evaluation; None if there was none since the run was resumed.
    """
    folder = RunFolder(config.out)
    if evaluation is not None:
        print(f"scores of each class after step {evaluation.step}:")
        stdout_console().print(render_class_table(evaluation.total))
    for line in (*_best_lines(folder), *_file_lines(folder), *_command_lines(config, folder)):
        print(line)


def _best_lines(folder: RunFolder) -> Iterator[str]:
    """The step and the scores of the best model; nothing without an evaluation."""
    best = folder.read_best()
    if best is None or best.step is None:
        return
    logged: dict[str, float] = {}
    for line in read_log(folder.path / "log.jsonl"):
        if line["step"] == best.step:
            logged |= line
    scores = ", ".join(f"{title} {percent(logged[name])}" for name, title in _SCORES.items() if name in logged)
    yield f"best:  step {best.step}: {scores}" if scores else f"best:  step {best.step}"


def _file_lines(folder: RunFolder) -> Iterator[str]:
    """The model that commands use, and where the other files are."""
    yield f"model: {folder.best if folder.best.exists() else folder.last}"
    yield f"files: {folder.path} (last.safetensors, log.jsonl, plot.png, predictions)"


def _command_lines(config: TrainConfig, folder: RunFolder) -> Iterator[str]:
    """Commands that use the model."""
    from blitznet.data.sources import split_sources

    run = str(folder.path)
    _, evaluation = split_sources(config.resolve_root(config.data), config.resolve_root(config.val))
    sets = [source.title for source in evaluation]
    yield "next:"
    yield "  " + shlex.join(["blitznet", "predict", "IMAGES", "--model", run])
    yield "  " + shlex.join(["blitznet", "eval", run, "--data", *(sets or ("DATASET",)), "--per-class"])
    yield "  " + shlex.join(["blitznet", "export", run])
