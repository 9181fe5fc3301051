"""Callbacks of a run: what progress bars, experiment trackers and your own code receive.

Callbacks observe a run; they do not change what is computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from blitznet.core.progress import Progress
from blitznet.core.spec import Spec
from blitznet.data.coverage import Coverage
from blitznet.metrics.report import SetScores


@dataclass(frozen=True, slots=True, eq=False)
class RunStart:
    """What a run trains on, known before its first step."""

    spec: Spec
    """of the model, without the classes and tasks that cannot be learned"""
    coverage: Coverage
    """what the training images annotate"""
    evaluation: Sequence[tuple[str, int]]
    """title and number of images of each evaluation set"""
    num_steps: int
    completed_steps: int
    """steps before the run was resumed"""
    batch: int
    """images per step"""
    images_per_epoch: float
    device: str
    """such as cpu or cuda"""


@dataclass(frozen=True, slots=True)
class RunEvaluation:
    """The scores of one evaluation during a run."""

    step: int
    scores: Mapping[str, float]
    """fractions 0..1 by their names in the log: score/ap50, score/ap50_frequent, score/miou"""
    total: SetScores
    """all scores of all evaluation sets as one, also those of each class"""
    is_best: bool
    """whether the model was saved as the best so far"""


class TrainCallback(Protocol):
    """Is called during a run, in the main process only. A subclass may leave out methods; these do nothing."""

    def on_start(self, start: RunStart) -> None:  # noqa: ARG002 - for subclasses
        """Called once, before the first step."""
        return

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:  # noqa: ARG002 - for subclasses
        """Called after every step.

        Args:
            step: Number of the step, counted from 1.
            num_steps: Number of steps of the whole run.
            values: Numbers by their names in the log: loss/total and the other losses, grad_norm, lr,
                images_per_second, data_time.
        """
        return

    def on_eval(self, evaluation: RunEvaluation) -> None:  # noqa: ARG002 - for subclasses
        """Called after every evaluation."""
        return

    def on_end(self, *, failed: bool) -> None:  # noqa: ARG002 - for subclasses
        """Called once at the end; `failed` if the run was interrupted or raised an error."""
        return


class ProgressCallback(TrainCallback):
    """Reports the steps of a run to a progress callback."""

    def __init__(self, progress: Progress, label: str = "steps") -> None:
        self._progress, self._label = progress, label

    def on_step(self, step: int, num_steps: int, values: Mapping[str, float]) -> None:  # noqa: ARG002 - of the protocol
        """Report the step."""
        self._progress(self._label, step, num_steps)
