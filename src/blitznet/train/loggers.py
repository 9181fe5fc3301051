"""Experiment trackers: TensorBoard, MLflow, Weights & Biases.

A logger receives every line of the run's log. A resumed run continues the same record; its id is stored in the run
folder.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from blitznet.core.errors import MissingExtra, UsageError
from blitznet.train.callbacks import RunEvaluation, TrainCallback

LoggerName = Literal["tensorboard", "mlflow", "wandb"]
PROJECT = "blitznet"
"""MLflow's experiment; project in Weights & Biases, unless WANDB_PROJECT names another"""


class ExperimentLogger(TrainCallback):
    """Records the numbers of a run: of the steps that the run logs, and of all evaluations."""

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:  # noqa: ARG002 - of the protocol
        """Record the losses."""
        self.log(step, values)

    def on_eval(self, evaluation: RunEvaluation) -> None:
        """Record the scores."""
        self.log(evaluation.step, evaluation.scores)

    def on_end(self, *, failed: bool) -> None:
        """End the record."""
        self.close(failed=failed)

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers by name; names are grouped by a slash, such as loss/total."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """End the record; `failed` if the run was interrupted or raised an error."""


def open_logger(name: LoggerName, folder: Path, *, after: int, settings: Mapping[str, Any]) -> ExperimentLogger:
    """Open the logger of a run.

    Args:
        name: One of `LoggerName`.
        folder: The run folder.
        after: Steps that are recorded already; 0 for a new run.
        settings: Hyperparameters of the run, recorded once.

    Raises:
        MissingExtra: The package of the tracker is not installed.
        UsageError: There is no logger of this name.
    """
    if name not in _LOGGERS:
        raise UsageError(f"--loggers: expected some of {', '.join(get_args(LoggerName))}, got '{name}'")
    try:
        return _LOGGERS[name](folder, after, settings)
    except ImportError as error:
        raise MissingExtra(f"--loggers {name}", "train" if name == "tensorboard" else name) from error


class TensorBoardLogger(ExperimentLogger):
    """Writes events to `tensorboard/` in the run folder."""

    def __init__(self, folder: Path, after: int, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)
        if not after:
            self._writer.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in settings.items()))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write a scalar for each number."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, failed: bool) -> None:  # noqa: ARG002 - TensorBoard records no status
        """Write buffered events."""
        self._writer.close()


class MlflowLogger(ExperimentLogger):
    """Logs to MLflow's experiment `blitznet`, on the server of MLFLOW_TRACKING_URI."""

    def __init__(self, folder: Path, after: int, settings: Mapping[str, Any]) -> None:
        import os

        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow would report its use over the network
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._metric, self._client = Metric, MlflowClient()
        id_file = folder / "mlflow-run.txt"
        if after and id_file.exists():
            self._run_id = id_file.read_text().strip()
            self._client.set_terminated(self._run_id, "RUNNING")
            return
        experiment = self._client.get_experiment_by_name(PROJECT)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
        self._run_id = self._client.create_run(experiment_id, run_name=folder.name).info.run_id
        id_file.write_text(self._run_id + "\n")
        params = [Param(name, str(value)[:_MAX_PARAM_LENGTH]) for name, value in settings.items()]
        self._client.log_batch(self._run_id, params=params)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log a metric for each number."""
        from time import time

        now = round(1000 * time())
        metrics = [self._metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics)

    def close(self, *, failed: bool) -> None:
        """Set the status to FINISHED or KILLED."""
        self._client.set_terminated(self._run_id, "KILLED" if failed else "FINISHED")


class WandbLogger(ExperimentLogger):
    """Logs to the Weights & Biases project `blitznet`, or that of WANDB_PROJECT."""

    def __init__(self, folder: Path, after: int, settings: Mapping[str, Any]) -> None:
        import os

        import wandb

        id_file = folder / "wandb-run.txt"
        run_id = id_file.read_text().strip() if after and id_file.exists() else wandb.util.generate_id()
        id_file.write_text(run_id + "\n")
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=run_id,
            resume="allow",
            dir=str(folder),
            config=dict(settings),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log all numbers of a step."""
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool) -> None:
        """Finish the run with exit code 0 or 1."""
        self._run.finish(exit_code=int(failed))


_MAX_PARAM_LENGTH = 500
"""characters of a parameter's value in MLflow"""
_LOGGERS: dict[str, Callable[[Path, int, Mapping[str, Any]], ExperimentLogger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MlflowLogger,
    "wandb": WandbLogger,
}
