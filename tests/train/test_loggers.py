"""Experiment loggers: MLflow with a file store, Weights & Biases with a fake package."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from blitznet.core.errors import MissingExtra, UsageError
from blitznet.train.loggers import LoggerName, open_logger
from blitznet.train.run_log import RunLog

SETTINGS = {"lr": 0.1, "data": ["voc:a@train"], "out": "x" * 600}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a store in a folder."""
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    return MlflowClient()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the library
def test_mlflow_records_settings_losses_and_scores(store: Any, tmp_path: Path) -> None:
    with RunLog(tmp_path, after=0, loggers=("mlflow",), settings=SETTINGS) as log:
        log.on_step(1, 9, {"loss/total": 15.0, "lr": 0.5})
        log.on_step(2, 9, {"loss/total": 14.0, "score/ap50": 0.25})
    (run,) = store.search_runs([store.get_experiment_by_name("blitznet").experiment_id])
    assert (run.info.run_name, run.info.status) == (tmp_path.name, "FINISHED")
    assert run.data.params == {"lr": "0.1", "data": "['voc:a@train']", "out": "x" * 500}
    history = store.get_metric_history(run.info.run_id, "loss/total")
    assert [(metric.step, metric.value) for metric in history] == [(1, 15.0), (2, 14.0)]
    assert run.data.metrics["score/ap50"] == 0.25
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("user", "expected"), [(None, "true"), ("false", "false")])
def test_mlflow_reports_its_use_only_on_request(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str | None, expected: str
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "restored after the test")
    if user is None:
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    else:
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", user)
    open_logger("mlflow", tmp_path, after=0, settings=SETTINGS).close(failed=False)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == expected


@pytest.mark.filterwarnings("default")
def test_mlflow_resumes_an_interrupted_run(store: Any, tmp_path: Path) -> None:
    def interrupt() -> None:
        with RunLog(tmp_path, after=0, loggers=("mlflow",), settings=SETTINGS) as log:
            log.on_step(1, 9, {"loss/total": 15.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    experiment = store.get_experiment_by_name("blitznet").experiment_id
    assert [run.info.status for run in store.search_runs([experiment])] == ["KILLED"]
    with RunLog(tmp_path, after=1, loggers=("mlflow",), settings=SETTINGS) as log:
        log.on_step(2, 9, {"loss/total": 14.0})
    (run,) = store.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert len(store.get_metric_history(run.info.run_id, "loss/total")) == 2


def make_wandb_run(**arguments: Any) -> SimpleNamespace:
    """A fake return value of wandb.init, which records the calls."""
    logged: list[tuple[int, Mapping[str, float]]] = []
    exit_codes: list[int] = []
    methods = {
        "log": lambda values, step: logged.append((step, values)),
        "finish": lambda exit_code: exit_codes.append(exit_code),
    }
    return SimpleNamespace(arguments=arguments, logged=logged, exit_codes=exit_codes, **methods)


def test_wandb_records_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[SimpleNamespace] = []

    def init(**arguments: Any) -> SimpleNamespace:
        runs.append(make_wandb_run(**arguments))
        return runs[-1]

    util = SimpleNamespace(generate_id=lambda: f"id{len(runs)}")
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, util=util))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    for after in (0, 1):
        with RunLog(tmp_path, after=after, loggers=("wandb",), settings=SETTINGS) as log:
            log.on_step(after + 1, 9, {"loss/total": 15.0})
    first, second = runs
    assert (first.arguments["project"], first.arguments["name"], first.arguments["config"]) == (
        "blitznet",
        tmp_path.name,
        SETTINGS,
    )
    assert (first.arguments["id"], second.arguments["id"], second.arguments["resume"]) == ("id0", "id0", "allow")
    assert (first.logged, second.logged) == ([(1, {"loss/total": 15.0})], [(2, {"loss/total": 15.0})])
    assert (first.exit_codes, second.exit_codes) == ([0], [0])


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_missing_package_is_reported(name: LoggerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name] or [name]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=rf"--loggers {name} needs `pip install 'blitznet\[{name}\]'`"):
        open_logger(name, tmp_path, after=0, settings={})


def test_unknown_logger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--loggers: expected some of tensorboard, mlflow, wandb, got 'x'"):
        open_logger(cast(LoggerName, "x"), tmp_path, after=0, settings={})
