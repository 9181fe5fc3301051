"""A run's folder: begun, gone on with by the same run, refused to another."""

from dataclasses import replace
from pathlib import Path

import pytest

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.folder import RunFolder


def test_another_run_is_refused_once_there_is_a_state(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path / "runs" / "a"), TrainConfig()
    folder.require_same(config)
    folder.begin(config)
    other = replace(config, lr=0.1, model="ssd300")
    folder.require_same(other)
    folder.state.touch()
    folder.require_same(replace(config, steps=7, workers=3))
    with pytest.raises(UsageError) as caught:
        folder.require_same(other)
    assert str(caught.value) == (
        f'{folder.path}: the run there was begun otherwise: --model "ssd300", was "blitznet300-lite"; '
        "--lr 0.1, was 0.0012; choose another --out, or remove that folder"
    )


def test_a_broken_config_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.state.touch()
    folder.require_same(TrainConfig())
    folder.config.write_text("{")
    with pytest.raises(UsageError, match=r"config\.json: wanted a config as JSON"):
        folder.require_same(TrainConfig())


def test_a_new_run_forgets_the_best_of_an_older_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.best_score.write_text("1.5\n")
    folder.state.touch()
    folder.begin(TrainConfig())
    assert folder.best_score.exists()
    folder.state.unlink()
    folder.begin(TrainConfig())
    assert not folder.best_score.exists()
