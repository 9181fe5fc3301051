"""Who hears of a run's numbers while it trains, besides its own log: TensorBoard, MLflow, Weights & Biases.

A reporter hears every line of the log. Where a run is taken up again it goes on with the same record, whose name lies
in the run folder.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from blitznet.core.errors import MissingExtra, UsageError

LoggerName = Literal["tensorboard", "mlflow", "wandb"]
PROJECT = "blitznet"
"""the experiment or project that runs belong to, unless their own variables of the environment say otherwise"""


class ExperimentLogger(Protocol):
    """Hears of a run."""

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name, grouped by a slash: loss/total, score/miou."""
        ...

    def close(self, *, failed: bool) -> None:
        """The run has ended, or was stopped or broke off (`failed`)."""
        ...


def open_logger(name: LoggerName, folder: Path, *, after: int, settings: Mapping[str, Any]) -> ExperimentLogger:
    """The reporter of this name for a run folder whose first `after` steps were told already.

    settings: what the run is trained with, told once. Raises MissingExtra where its package is not installed.
    """
    if name not in _REPORTERS:
        raise UsageError(f"--report: expected some of {', '.join(get_args(LoggerName))}, got '{name}'")
    try:
        return _REPORTERS[name](folder, after, settings)
    except ImportError as error:
        raise MissingExtra(f"--report {name}", "train" if name == "tensorboard" else name) from error


class TensorBoard:
    """Events in `tensorboard/` of the run folder."""

    def __init__(self, folder: Path, after: int, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._events: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)
        if not after:
            self._events.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in settings.items()))

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:  # noqa: ARG002 - it has no word for that
        """Write what waits."""
        self._events.close()


class MlFlow:
    """A run of MLflow's experiment `blitznet`, wherever MLFLOW_TRACKING_URI points."""

    def __init__(self, folder: Path, after: int, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric, self._client = Metric, MlflowClient()
        note = folder / "mlflow-run.txt"
        if after and note.exists():
            self._run = note.read_text().strip()
            self._client.set_terminated(self._run, "RUNNING")
            return
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(experiment, run_name=folder.name).info.run_id
        note.write_text(self._run + "\n")
        told = [Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]
        self._client.log_batch(self._run, params=told)

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """A metric for each."""
        from time import time

        now = round(1000 * time())
        self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in values.items()])

    def close(self, *, failed: bool) -> None:
        """Finished, or killed."""
        self._client.set_terminated(self._run, "KILLED" if failed else "FINISHED")


class WandB:
    """A run of the Weights & Biases project `blitznet`, or of WANDB_PROJECT."""

    def __init__(self, folder: Path, after: int, settings: Mapping[str, Any]) -> None:
        import os

        import wandb

        note = folder / "wandb-run.txt"
        identity = note.read_text().strip() if after and note.exists() else wandb.util.generate_id()
        note.write_text(identity + "\n")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=identity,
            resume="allow",
            dir=str(folder),
            config=dict(settings),
        )

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """All of a step at once."""
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        """Done, or not."""
        self._run.finish(exit_code=int(failed))


_LONGEST = 500
"""characters of a setting that MLflow takes"""
_REPORTERS: dict[str, Callable[[Path, int, Mapping[str, Any]], ExperimentLogger]] = {
    "tensorboard": TensorBoard,
    "mlflow": MlFlow,
    "wandb": WandB,
}
