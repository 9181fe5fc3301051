"""Every option of a run reaches what it changes: each one alone gives other weights, or exactly the same ones."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from blitznet.core.sample import SoftLabels
from blitznet.data.pseudo import dataset_folder
from blitznet.data.soft_labels import write_soft_labels
from blitznet.data.sources import parse_source
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from blitznet.train.config import TrainConfig
from blitznet.train.loop import train
from support import synthetic_data, tiny_models
from support.training_runs import LOADER_WARNINGS, tiny_config, toy_sets

pytestmark = LOADER_WARNINGS
Weights = dict[str, torch.Tensor]
Changes = dict[str, Any]

CHANGES_WEIGHTS: dict[str, tuple[Changes, Any]] = {
    "class_names": ({}, ("square", "cross")),
    "repeat_threshold": ({}, 0.9),
    "holdout": ({}, 0.5),
    "model": ({}, "tiny-lite"),
    "imgsz": ({}, (64, 96)),
    "tasks": ({}, ("detection",)),
    "anchor_scales": ({}, (0.1, 0.3, 0.8)),
    "fusion": ({}, "hourglass"),
    "steps": ({}, 3),
    "epochs": ({}, 2),
    "batch": ({}, 2),
    "accumulate": ({}, 2),
    "optimizer": ({}, "adam"),
    "lr": ({}, 2e-3),
    "encoder_lr_mult": ({}, 0.25),
    "encoder_lr_modules": ({}, ("segmentation",)),
    "schedule": ({}, "multistep"),
    "milestones": ({"schedule": "multistep"}, (1,)),
    "final_lr_mult": ({}, 0.5),
    "warmup": ({}, 1),
    "weight_decay": ({}, 0.1),
    "clip_grad": ({}, 0.01),
    "ema": ({}, 0.5),
    "policy": ({}, "plain"),
    "mosaic": ({}, 1.0),
    "copy_paste": ({}, 1.0),
    "segmentation_weight": ({}, 2.0),
    "mask_stride": ({}, 16),
    "freeze": ({}, ("encoder",)),
    "train_only": ({}, ("detection",)),
    "freeze_bn": ({}, ("encoder",)),
    "match_original": ({}, True),
    "precision": ({}, "bfloat16"),
    "seed": ({}, 1),
}
"""option -> other options of both runs, and its other value"""
NEEDS_FILES = {
    *("data", "root", "init", "keep", "keep_weight", "soft_labels", "soft_label_weight", "pseudo_masks"),
    *("encoder_weights", "drop_leaks", "box_segmentation_weight"),
}
"""options whose values are files, or that need sets without masks; tested below"""
CHANGES_NO_WEIGHTS: dict[str, tuple[Changes, Any]] = {
    "workers": ({}, 1),
    "cache": ({}, "ram"),
    "cache_size": ({"cache": "ram"}, 0.001),
    "log_every": ({}, 2),
    "save_every": ({}, 1),
    "loggers": ({}, ("tensorboard",)),
    "batch_memory": ({}, 0.1),
    "device": ({}, "auto" if not torch.cuda.is_available() else "cpu"),
    "val": ({}, "the evaluation set"),
    "eval_every": ({"val": "the evaluation set"}, 1),
    "patience": ({"val": "the evaluation set", "eval_every": 1}, 9),
    "allow_leaks": ({}, True),
}
ELSEWHERE = {
    "out": "every test has another folder",
    "threads": "sums of other numbers of threads differ in the last bit",
    "compile": "needs a compiler; tests/nets compiles the network",
    "encoder": "tests/train/test_initialize.py; the tiny network has one encoder",
    "frozen_stages": "tests/train/test_optimizer.py; the tiny encoder has no list of stages",
    "distillation": "tests/train/test_step.py; its teacher is too large for a tiny network",
    "distillation_every": "tests/train/test_trainer.py, for the same reason",
}
"""options that no run here has, and why"""


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a run of two steps with some options; each run is made once."""
    tiny_models.register()
    root = tmp_path_factory.mktemp("options")
    data, val = toy_sets(root)
    base = tiny_config(
        (data,), root, steps=2, ema=None, clip_grad=None, warmup=0, lr=1e-3, loggers=(), milestones=(), root=root
    )

    @cache
    def cached(changes: tuple[tuple[str, Any], ...]) -> Path:
        fields_of_run: dict[str, Any] = {
            name: (val,) if value == "the evaluation set" else value for name, value in changes
        }
        return train(replace(base, out=root / f"run{abs(hash(changes))}", **fields_of_run)).parent

    return lambda **changes: cached(tuple(sorted(changes.items())))


@pytest.fixture
def run(run_folder: Callable[..., Path]) -> Callable[..., Weights]:
    """Weights of such a run."""
    return lambda **changes: load_file(run_folder(**changes) / "last.safetensors")


def are_equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_every_option_is_tested() -> None:
    listed = [*CHANGES_WEIGHTS, *CHANGES_NO_WEIGHTS, *NEEDS_FILES, *ELSEWHERE]
    assert sorted(listed) == sorted(field.name for field in fields(TrainConfig))


@pytest.mark.parametrize("name", CHANGES_WEIGHTS)
def test_option_changes_the_weights(run: Callable[..., Weights], name: str) -> None:
    others, value = CHANGES_WEIGHTS[name]
    assert not are_equal(run(**others), run(**others, **{name: value}))


@pytest.mark.parametrize("name", CHANGES_NO_WEIGHTS)
def test_option_changes_no_weights(run: Callable[..., Weights], name: str) -> None:
    others, value = CHANGES_NO_WEIGHTS[name]
    assert are_equal(run(**others), run(**others, **{name: value}))


def test_every_optimizer_trains_other_weights(run: Callable[..., Weights]) -> None:
    weights = [run(optimizer=name) for name in ("adam", "adamw", "sgd")]
    assert not any(are_equal(weights[first], weights[second]) for first, second in ((0, 1), (1, 2), (0, 2)))


def test_the_saved_model_is_the_moving_average(run_folder: Callable[..., Path]) -> None:
    folder = run_folder(ema=0.5)
    state, saved = load_file(folder / "state.safetensors"), load_file(folder / "last.safetensors")
    average, net = (
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for prefix in ("average.", "net.")
    )
    assert are_equal(saved, average)
    assert not are_equal(saved, net)


def write_teacher(path: Path, names: tuple[str, ...], seed: int) -> str:
    """A tiny model of these classes."""
    torch.manual_seed(seed)
    spec = replace(tiny_models.PAPER, classes=names)
    save_model(path, build(spec), spec)
    return str(path)


def write_pseudo_masks(folder: Path, text: str) -> None:
    """Pseudo-masks that are moved by some pixels."""
    for drawing in synthetic_data.draw(7, seed=1):
        moved = np.roll(drawing.class_map, 5, 1)
        synthetic_data.write_mask(folder / dataset_folder(parse_source(text)) / f"{drawing.id}.png", moved)
    (folder / "classes.txt").write_text("\n".join(synthetic_data.NAMES))


def write_soft_label_files(folder: Path, text: str) -> None:
    """Random logits of all classes."""
    rng = np.random.default_rng(0)
    (folder / dataset_folder(parse_source(text))).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(synthetic_data.NAMES))
    for drawing in synthetic_data.draw(7, seed=1):
        logits = rng.normal(0, 3, (4, 5, 5)).astype(np.float32)
        labels = SoftLabels(logits, (0.1, 0.1), (0.2, 0.2))
        write_soft_labels(folder / dataset_folder(parse_source(text)) / f"{drawing.id}.npz", labels)


def test_options_with_files_change_the_weights(tmp_path: Path) -> None:
    """Sets, initial weights, teachers, pseudo-masks and soft labels."""
    (first, second), (smaller, _) = toy_sets(tmp_path / "a"), toy_sets(tmp_path / "b", images=5)
    base = tiny_config((f"{first},masks=none",), tmp_path, steps=2, loggers=(), root=tmp_path)
    write_pseudo_masks(tmp_path / "pseudo", f"{first},masks=none")
    write_soft_label_files(tmp_path / "soft", first)
    model = write_teacher(tmp_path / "model.safetensors", (*synthetic_data.NAMES, "dog"), seed=5)
    torch.save(build(tiny_models.PAPER).encoder.state_dict(), encoder := tmp_path / "encoder.pth")
    from_model = {"init": "model", "model": model}
    variants: list[Changes] = [
        {},
        {"data": (first,)},
        {"data": (smaller,)},
        {"data": ("voc:{root}/b/train@train,masks=none",)},
        {"pseudo_masks": tmp_path / "pseudo"},
        {"soft_labels": tmp_path / "soft"},
        {"soft_labels": tmp_path / "soft", "soft_label_weight": 3.0},
        {"box_segmentation_weight": 1.0},
        {"box_segmentation_weight": 3.0},
        {"init": "encoder", "encoder_weights": encoder},
        from_model,
        {**from_model, "keep": True},
        {**from_model, "keep": True, "keep_weight": 3.0},
        {"data": (first, second), "val": (second,), "allow_leaks": True},
    ]
    weights = [load_file(train(replace(base, out=tmp_path / f"run{k}", **each))) for k, each in enumerate(variants)]
    for first_run, second_run in combinations(range(len(variants)), 2):
        assert not are_equal(weights[first_run], weights[second_run]), (variants[first_run], variants[second_run])
    dropped = replace(base, out=tmp_path / "drop", data=(first, second), val=(second,), drop_leaks=True)
    assert are_equal(load_file(train(dropped)), weights[1])
    moved = replace(base, out=tmp_path / "root", data=("voc:{root}/train@train,masks=none",), root=tmp_path / "a")
    assert are_equal(load_file(train(moved)), weights[0])
