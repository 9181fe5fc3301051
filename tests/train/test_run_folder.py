"""A run's folder: begun, gone on with by the same run, refused to another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.run_folder import RunFolder


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
    with pytest.raises(UsageError, match=r"config\.json: expected a config as JSON"):
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


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"val": ("voc:a@val",)}, {"val": ("voc:b@val",)}, False),
        ({"val": ("voc:a@val",)}, {}, False),
        ({"val": ("voc:{root}/a@val",)}, {"val": ("voc:{root}/a@val",), "root": Path("elsewhere")}, False),
        ({"val": ("voc:a@val",)}, {"val": ("voc:a@val",), "root": Path("elsewhere"), "steps": 9}, True),
        ({"val": ("voc:a@val", "voc:b@val")}, {"val": ("voc:b@val", "voc:a@val")}, True),
    ],
)
def test_the_best_on_other_images_is_forgotten(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], kept: bool
) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(TrainConfig(**before))
    for path in (folder.state, folder.best):
        path.touch()
    folder.best_score.write_text("1.5\n")
    folder.require_same(TrainConfig(**after))
    folder.begin(TrainConfig(**after))
    assert (folder.best.exists(), folder.best_score.exists()) == (kept, kept)


def test_what_a_broken_config_called_best_is_forgotten(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_text("{")
    folder.best.touch()
    folder.begin(TrainConfig())
    assert not folder.best.exists()
