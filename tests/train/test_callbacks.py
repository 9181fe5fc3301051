"""Callbacks: methods that a callback leaves out do nothing; steps are reported as progress."""

from blitznet.metrics.report import SetScores
from blitznet.train.callbacks import ProgressCallback, RunEvaluation, TrainCallback


def test_methods_that_are_left_out_do_nothing() -> None:
    class Empty(TrainCallback):
        pass

    callback = Empty()
    callback.on_step(1, 2, {})
    callback.on_eval(RunEvaluation(1, {}, SetScores("all sets", 0), is_best=False))
    callback.on_end(failed=False)


def test_progress_of_steps() -> None:
    calls: list[tuple[str, int, int]] = []
    callback = ProgressCallback(lambda *call: calls.append(call), "joint")
    callback.on_step(3, 9, {"loss/total": 1.0})
    callback.on_end(failed=True)
    assert calls == [("joint", 3, 9)]
