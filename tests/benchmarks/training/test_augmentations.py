from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks._lib.scores import Scores, mean_scores
from benchmarks.training import augmentations
from benchmarks.training.augmentations import (
    SETS,
    VARIANTS,
    Options,
    Row,
    gain,
    held_out_sets,
    make_table,
    measure,
    run_config,
)
from blitznet.data.sources import open_sources
from blitznet.train.config import TrainConfig
from blitznet.train.sampler import list_entries
from support import synthetic_data

OPTIONS = Options(seeds=(0, 1), variants=("strong", "mosaic"), steps=40, root=Path("data"))


def test_variants_train_the_pipeline_with_another_augmentation() -> None:
    configs = {name: run_config(name, 3, replace(OPTIONS, out=Path("runs"))) for name in VARIANTS}
    base = configs["strong"]
    for name, config in configs.items():
        changed = {key for key in ("policy", "mosaic", "copy_paste") if getattr(config, key) != getattr(base, key)}
        assert changed or name == "strong"
        assert config.holdout == 0.1
        assert config.val == ()
        assert config.steps == 40
        assert config.warmup == 5
        assert config.seed == 3
    assert len({config.out for config in configs.values()}) == len(VARIANTS)
    assert all(variant.predicted is not None for name, variant in VARIANTS.items() if name != "strong")
    assert not any(text.endswith(("@val", "@test", "@rare")) for text in SETS)


def test_scored_images_are_not_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(40, size=(32, 40)))
    monkeypatch.setattr(augmentations, "SETS", (text,))
    options = replace(OPTIONS, holdout=0.3)
    (scored,) = held_out_sets(synthetic_data.NAMES, options)
    datasets = open_sources([text], synthetic_data.NAMES)
    trained = {datasets[0].ids[index] for _, index in list_entries(datasets, options.holdout)}
    assert len(scored) > 3
    assert trained.isdisjoint(scored.ids)
    assert len(trained) + len(scored) == 40
    assert len(held_out_sets(synthetic_data.NAMES, replace(options, max_images=2))[0]) == 2


def test_completed_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def train(config: TrainConfig, *, notify: Callable[[str], None]) -> Path:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(config.out.name)
        return config.out / "last.safetensors"

    monkeypatch.setattr(augmentations, "train", train)
    monkeypatch.setattr(augmentations, "score_model", lambda path, options: Scores(0.1 * len(trained), None))
    options = replace(OPTIONS, out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure(options)
    assert trained == ["strong-0", "mosaic-0", "strong-1"]
    trained[:] = trained[:2]
    rows = measure(options)
    assert trained == ["strong-0", "mosaic-0", "mosaic-1"]
    assert [row.variant for row in rows] == ["strong", "mosaic"]
    assert rows[0].mean.ap50 == pytest.approx(0.2)


def test_table_states_what_was_predicted_and_gained() -> None:
    rows = [
        Row("strong", None, Scores(0.5, 0.4), ()),
        Row("mosaic", (0.5, -0.3), Scores(0.512, None), ()),
    ]
    table = make_table(rows, OPTIONS)
    assert table.rows[0] == ("strong", "50.0 %", "", "", "40.0 %", "", "")
    assert table.rows[1] == ("mosaic", "51.2 %", "+0.5", "+1.2", "-", "-0.3", "-")
    assert gain(None, 0.5) == "-"
    mean = mean_scores([Scores(0.2, None), Scores(0.4, 0.1)])
    assert mean.ap50 == pytest.approx(0.3)
    assert mean.miou is None
