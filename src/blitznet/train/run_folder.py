"""The folder of a run: the paths of its files, and the check that it belongs to a config."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write, delete_leftovers
from blitznet.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class BestScore:
    """The score of the best model, and its step."""

    score: float
    """sum of the scores of an evaluation"""
    step: int | None
    """None in a folder of a version that did not store it"""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run, besides those of run_log.py and loggers.py."""

    path: Path

    @property
    def config(self) -> Path:
        """The run's TrainConfig as JSON."""
        return self.path / "config.json"

    @property
    def state(self) -> Path:
        """The resumable state."""
        return self.path / "state.safetensors"

    @property
    def last(self) -> Path:
        """The model of the last checkpoint."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The model with the best scores."""
        return self.path / "best.safetensors"

    @property
    def best_score(self) -> Path:
        """A text file with the sum of the best model's scores, and its step."""
        return self.path / "best.txt"

    def read_best(self) -> BestScore | None:
        """The best score so far; None before the first evaluation. Raises UsageError if the file has other text."""
        if not self.best_score.exists():
            return None
        try:
            score, *step = self.best_score.read_text().split()
            return BestScore(float(score), int(step[0]) if step else None)
        except ValueError as error:
            raise UsageError(
                f"{self.best_score}: expected a score and a step, got other text; delete the file"
            ) from error

    def write_best(self, score: float, step: int) -> None:
        """Store the score of the best model and its step."""
        atomic_write(self.best_score, f"{score!r} {step}\n".encode())

    @property
    def plot(self) -> Path:
        """The plot of losses and scores over the steps."""
        return self.path / "plot.png"

    def predictions(self, step: int) -> Path:
        """A contact sheet of evaluation images with the predictions after a step."""
        return self.path / "predictions" / f"{step:07d}.jpg"

    def stored_batch(self) -> int | None:
        """The batch of the run that the folder has a state of; None without one."""
        if not self.state.exists() or not self.config.exists():
            return None
        try:
            batch = json.loads(self.config.read_text()).get("batch")
        except ValueError:
            return None  # `require_resumable` reports it
        return batch if isinstance(batch, int) else None

    def require_resumable(self, config: TrainConfig) -> None:
        """Raise UsageError if the folder has the state of a run with other options, or files that no run wrote."""
        self._require_own_files()
        if not self.state.exists() or not self.config.exists():
            return
        try:
            conflicts = config.conflicts(self.config.read_text())
        except ValueError as error:  # not JSON, or not UTF-8
            raise UsageError(f"{self.config}: expected a config as JSON, got other text; delete the file") from error
        if conflicts:
            raise UsageError(
                f"{self.path}: expected a run with the same options, got another: {'; '.join(conflicts)}; "
                "choose another --out, or delete the folder"
            )

    def _require_own_files(self) -> None:
        """Raise UsageError if a file that a run would replace is not of a run."""
        if self.config.exists():
            if not self.state.exists() and not _is_run_config(self.config):
                raise UsageError(
                    f"{self.config}: expected the options of a run, got another file; choose another --out"
                )
            return
        for file in (self.best_score, self.plot, self.path / "log.jsonl"):
            if file.exists():
                raise UsageError(
                    f"{file}: expected a new folder or that of a run, got a file of no run; choose another --out"
                )

    def start(self, config: TrainConfig) -> None:
        """Create the folder and store the config; delete the best model if the evaluation sets have changed."""
        # Temporary files of killed runs are deleted: a run is the only process that writes to its folder.
        self.path.mkdir(parents=True, exist_ok=True)
        files = (self.config, self.state, self.last, self.best, self.best_score, self.plot, self.path / "log.jsonl")
        delete_leftovers(self.path, [file.name for file in files])
        if self._has_other_evaluation_sets(config):
            # scores on other images are not comparable, and a run without evaluation would never replace the model
            self.best_score.unlink(missing_ok=True)
            self.best.unlink(missing_ok=True)
        atomic_write(self.config, (config.to_json() + "\n").encode())
        if not self.state.exists():
            self.best_score.unlink(missing_ok=True)

    def _has_other_evaluation_sets(self, config: TrainConfig) -> bool:
        """Whether the stored config has other evaluation sets, with {root} replaced."""
        if not self.config.exists():
            return False
        try:
            stored = json.loads(self.config.read_text())
        except ValueError:
            return True
        default = TrainConfig()
        before = replace(
            default, val=tuple(stored.get("val", default.val)), root=Path(stored.get("root", default.root))
        )
        return sorted(before.resolve_root(before.val)) != sorted(config.resolve_root(config.val))


def _is_run_config(path: Path) -> bool:
    """Whether a file is a TrainConfig, also one of another version."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return False
    return isinstance(content, dict) and {"data", "steps", "out"} <= content.keys()
