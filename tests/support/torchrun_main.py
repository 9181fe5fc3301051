"""Script for `torchrun`: a run of the tiny network, in which one process may be killed.

Arguments: the config as JSON, and RANK:STEP of the process to kill before a step, or an empty word. After a restart by
torchrun no process is killed.
"""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from blitznet.train.batch import Batch  # noqa: E402 - needs the path
from blitznet.train.trainer import Trainer  # noqa: E402
from support import training_runs  # noqa: E402

_STEP = Trainer.step


def kill_before(rank: int, doomed_step: int) -> None:
    """Let the process of a rank end by SIGKILL before it does a step."""

    def killing_step(self: Trainer, batches: Iterator[Batch], step: int) -> tuple[dict[str, float], dict[str, float]]:
        if self.group.rank == rank and step == doomed_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return _STEP(self, batches, step)

    Trainer.step = killing_step  # type: ignore[method-assign] # for this process only


if __name__ == "__main__":
    fields, doomed = sys.argv[1:]
    if doomed and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        rank_to_kill, step_to_kill = map(int, doomed.split(":"))
        kill_before(rank_to_kill, step_to_kill)
    training_runs.main(fields)
