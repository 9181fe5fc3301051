"""RunFolder: the same run resumes, another one is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.core.errors import UsageError
from blitznet.train.config import TrainConfig
from blitznet.train.run_folder import BestScore, RunFolder


def test_other_options_are_refused_once_there_is_a_state(tmp_path: Path) -> None:
    folder, config = RunFolder(tmp_path / "runs" / "a"), TrainConfig()
    folder.require_resumable(config)
    folder.start(config)
    changed = replace(config, lr=0.1, model="ssd300")
    folder.require_resumable(changed)
    folder.state.touch()
    folder.require_resumable(replace(config, steps=7, workers=3))
    with pytest.raises(UsageError) as caught:
        folder.require_resumable(changed)
    assert str(caught.value) == (
        f'{folder.path}: expected a run with the same options, got another: --model "ssd300", was "blitznet300-lite"; '
        "--lr 0.1, was 0.0012; choose another --out, or delete the folder"
    )


def test_broken_config_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.state.touch()
    folder.require_resumable(TrainConfig())
    folder.config.write_text("{")
    with pytest.raises(UsageError, match=r"config\.json: expected a config as JSON"):
        folder.require_resumable(TrainConfig())


def test_best_score(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.read_best() is None
    folder.write_best(1 / 3, 40)
    assert folder.read_best() == BestScore(1 / 3, 40)
    folder.best_score.write_text("0.25\n")  # of a version that stored no step
    assert folder.read_best() == BestScore(0.25, None)


def test_new_run_deletes_the_best_score_of_an_older_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.best_score.write_text("1.5\n")
    folder.state.touch()
    folder.start(TrainConfig())
    assert folder.best_score.exists()
    folder.state.unlink()
    folder.start(TrainConfig())
    assert not folder.best_score.exists()


@pytest.mark.parametrize(
    ("before", "after", "exists"),
    [
        ({"val": ("voc:a@val",)}, {"val": ("voc:b@val",)}, False),
        ({"val": ("voc:a@val",)}, {}, False),
        ({"val": ("voc:{root}/a@val",)}, {"val": ("voc:{root}/a@val",), "root": Path("elsewhere")}, False),
        ({"val": ("voc:a@val",)}, {"val": ("voc:a@val",), "root": Path("elsewhere"), "steps": 9}, True),
        ({"val": ("voc:a@val", "voc:b@val")}, {"val": ("voc:b@val", "voc:a@val")}, True),
    ],
)
def test_best_model_on_other_images_is_deleted(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], exists: bool
) -> None:
    folder = RunFolder(tmp_path)
    folder.start(TrainConfig(**before))
    for path in (folder.state, folder.best):
        path.touch()
    folder.best_score.write_text("1.5\n")
    folder.require_resumable(TrainConfig(**after))
    folder.start(TrainConfig(**after))
    assert (folder.best.exists(), folder.best_score.exists()) == (exists, exists)


def test_best_model_of_a_broken_config_is_deleted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.config.write_text("{")
    folder.best.touch()
    folder.start(TrainConfig())
    assert not folder.best.exists()


def test_a_run_deletes_what_killed_runs_left(tmp_path: Path) -> None:
    left = (".last.46a81573.safetensors", ".state.c5f437d7.safetensors", ".config.b4952651.json", ".tmprQYImz")
    for name in (*left, ".mine.46a81573.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    RunFolder(tmp_path).start(TrainConfig())
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", ".mine.46a81573.safetensors", "notes.txt"}


@pytest.mark.parametrize(
    ("name", "content"), [("config.json", '{"architectures": ["Bert"]}'), ("plot.png", ""), ("log.jsonl", "")]
)
def test_a_folder_with_files_of_the_user_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=rf"{name}: expected .*; choose another --out$"):
        RunFolder(tmp_path).require_resumable(TrainConfig())
    assert (tmp_path / name).read_text() == content
