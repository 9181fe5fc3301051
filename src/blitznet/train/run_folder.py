"""A run's folder: what lies where in it, and which run it belongs to."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from blitznet.core.errors import UsageError
from blitznet.core.files import atomic_write
from blitznet.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run; tensorboard/ and log.jsonl are the log's."""

    path: Path

    @property
    def config(self) -> Path:
        """The TrainConfig of the run, as JSON."""
        return self.path / "config.json"

    @property
    def state(self) -> Path:
        """What the run goes on from."""
        return self.path / "state.safetensors"

    @property
    def last(self) -> Path:
        """The model at the last checkpoint."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """The model with the highest scores."""
        return self.path / "best.safetensors"

    @property
    def best_score(self) -> Path:
        """Those scores' sum."""
        return self.path / "best.txt"

    @property
    def plot(self) -> Path:
        """Losses and scores over the steps."""
        return self.path / "plot.png"

    def picture(self, step: int) -> Path:
        """What the network saw in some images after this step."""
        return self.path / "pictures" / f"{step:07d}.jpg"

    def require_same(self, config: TrainConfig) -> None:
        """Refuse to go on with a run that was begun otherwise."""
        if not self.state.exists() or not self.config.exists():
            return
        try:
            conflicts = config.conflicts(self.config.read_text())
        except json.JSONDecodeError as error:
            raise UsageError(f"{self.config}: expected a config as JSON, got something else; remove it") from error
        if conflicts:
            raise UsageError(
                f"{self.path}: the run there was begun otherwise: {'; '.join(conflicts)}; choose another --out, "
                "or remove that folder"
            )

    def begin(self, config: TrainConfig) -> None:
        """Make the folder this config's own; forget the best so far where other images judged it."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._judged_otherwise(config):
            # scores on other images do not compare, and without an evaluation nothing would ever replace that model
            self.best_score.unlink(missing_ok=True)
            self.best.unlink(missing_ok=True)
        atomic_write(self.config, (config.to_json() + "\n").encode())
        if not self.state.exists():
            self.best_score.unlink(missing_ok=True)

    def _judged_otherwise(self, config: TrainConfig) -> bool:
        """Whether the config that lies there names other evaluation sets, wherever {root} has them."""
        if not self.config.exists():
            return False
        try:
            written = json.loads(self.config.read_text())
        except json.JSONDecodeError:
            return True
        default = TrainConfig()
        before = replace(
            default, val=tuple(written.get("val", default.val)), root=Path(written.get("root", default.root))
        )
        return sorted(before.sources(before.val)) != sorted(config.sources(config.val))
