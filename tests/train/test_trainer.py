"""Mixing and the cache in a run: the same samples in every process, after every interruption."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blitznet.core.spec import Spec
from blitznet.nets.blitznet import build
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.datasets import TrainData, open_all, prepare_data
from blitznet.train.distributed import ProcessGroup
from blitznet.train.loop import train
from blitznet.train.trainer import Trainer, augmented, fit, make_batches, make_trainer
from support import tiny_models
from support.training_runs import LOADER_WARNINGS, assert_equal, tiny_config, toy_sets

pytestmark = LOADER_WARNINGS


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    data, _ = toy_sets(tmp_path, images=9)
    return tiny_config((data,), tmp_path / "run", mosaic=0.5, copy_paste=0.7)


def prepare(config: TrainConfig) -> tuple[Spec, TrainData]:
    spec, _ = tiny_models.specs()
    return spec, prepare_data(open_all(config.data), [], spec.classes, config)


def first_batches(config: TrainConfig, count: int) -> list[Batch]:
    spec, data = prepare(config)
    batches = make_batches(data.training, data.sampler, spec, config)
    return [next(batches) for _ in range(count)]


@pytest.mark.parametrize("changes", [{"workers": 2}, {"workers": 2, "cache": "ram"}, {"cache": "disk"}])
def test_mixed_batches_do_not_depend_on_workers_and_cache(config: TrainConfig, changes: dict[str, object]) -> None:
    expected = first_batches(config, 5)
    actual = first_batches(replace(config, **changes), 5)  # type: ignore[arg-type] # fields of the config
    assert any("+" in name for batch in expected for name in batch.ids)
    for first, second in zip(expected, actual, strict=True):
        assert first.ids == second.ids
        for name in ("images", "boxes", "labels", "crowd", "class_map"):
            assert torch.equal(getattr(first, name), getattr(second, name))


def test_a_resumed_run_with_mixing_equals_an_uninterrupted_one(config: TrainConfig) -> None:
    train(config, stop_after=3)
    notices: list[str] = []
    train(replace(config, cache="ram", cache_size=0.25), notify=notices.append)
    assert "--cache ram: at most 0.25 GB of decoded images" in notices
    whole = train(replace(config, out=config.out.with_name("whole")))
    assert_equal(config.out / "state.safetensors", whole.parent / "state.safetensors")
    assert not list(config.out.glob("cache-*"))


def test_images_are_listed_for_mixing_only_if_it_is_used(config: TrainConfig) -> None:
    spec, data = prepare(config)
    assert augmented(data.training, spec, config, data.sampler).pool is not None
    assert augmented(data.training, spec, config).pool is None
    plain = replace(config, mosaic=0.0, copy_paste=0.0)
    assert augmented(data.training, spec, plain, data.sampler).pool is None


def test_held_out_images_are_never_mixed_in(config: TrainConfig) -> None:
    held = replace(config, holdout=0.4, mosaic=1.0)
    _, data = prepare(held)
    trained = {data.training[number].ids[index] for number, index in data.sampler.entries.tolist()}
    assert len(trained) < 9
    drawn = {name for batch in first_batches(held, 6) for names in batch.ids for name in names.split("+")}
    assert drawn <= trained


def plain_trainer(config: TrainConfig) -> tuple[Trainer, Iterator[Batch]]:
    """A trainer of the tiny network in one process, and its batches."""
    spec, data = prepare(config)
    torch.manual_seed(0)
    trainer = make_trainer(build(spec), spec, config, ProcessGroup(0, 1, torch.device("cpu")))
    return trainer, make_batches(data.training, data.sampler, spec, config)


def test_the_average_follows_the_network_with_the_decay_of_each_step(config: TrainConfig) -> None:
    config = replace(config, mosaic=0.0, copy_paste=0.0, ema=0.24)
    trainer, batches = plain_trainer(config)
    assert trainer.ema is not None
    expected = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    for step in (1, 2, 3):
        trainer.step(batches, step)
        decay = min(0.24, (1 + step) / (10 + step))  # 0.18, then 0.24
        for name, value in trainer.net.state_dict().items():
            expected[name] = (
                decay * expected[name] + (1 - decay) * value if value.is_floating_point() else value.clone()
            )
        for name, value in trainer.ema.net.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("ema", "stop", "steps"), [(None, 9, 3), (0.5, 9, 3), (0.5, 2, 2)])
def test_fit_returns_the_average_after_all_steps_or_fewer(
    config: TrainConfig, ema: float | None, stop: int, steps: int
) -> None:
    config = replace(config, mosaic=0.0, copy_paste=0.0, steps=3, ema=ema)
    trainer, batches = plain_trainer(config)
    called: list[int] = []

    def on_step(step: int, losses: dict[str, float]) -> bool:
        assert losses["total"] > 0
        called.append(step)
        return step == stop

    final = fit(trainer.net, trainer.spec, batches, config, on_step=on_step)
    assert called == list(range(1, steps + 1))
    assert (final is trainer.net) == (ema is None)
    weights = [net.state_dict()["encoder.stem.0.weight"] for net in (final, trainer.net)]
    assert torch.equal(*weights) == (ema is None)


def test_soft_labels_have_the_size_of_the_logits_and_class_maps_that_of_the_mask_stride(config: TrainConfig) -> None:
    spec, data = prepare(config)
    for mask_stride, map_size in ((None, (8, 8)), (16, (4, 4)), (3, (22, 22))):
        samples = augmented(data.training, spec, replace(config, mask_stride=mask_stride))
        assert (samples.size, samples.map_size, samples.soft_size) == ((64, 64), map_size, (8, 8))


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, set()),
        ({"freeze": ("encoder",)}, {"encoder"}),
        ({"train_only": ("segmentation", "upscale")}, {"encoder", "downscale"}),
        ({"freeze_bn": ("downscale",)}, {"downscale"}),
        ({"freeze_bn": ("all",)}, {"encoder", "downscale", "upscale"}),
    ],
)
def test_batch_norms_of_frozen_modules_keep_their_statistics(
    config: TrainConfig, changes: dict[str, Any], frozen: set[str]
) -> None:
    trainer, batches = plain_trainer(replace(config, mosaic=0.0, copy_paste=0.0, **changes))
    before = {name: value.clone() for name, value in trainer.net.named_buffers()}
    trainer.step(batches, 1)
    unchanged = {name for name, value in trainer.net.named_buffers() if torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in unchanged} == frozen
    assert unchanged == {name for name in before if name.partition(".")[0] in frozen}


@dataclass(frozen=True)
class ZeroTarget:
    """The target of a teacher that is always content."""

    num_objects: int = 1
    num_cells: int = 0

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float) -> torch.Tensor:
        return torch.zeros(())


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (3, [3, 6])])
def test_ssdlite_is_distilled_in_every_nth_step(config: TrainConfig, every: int, expected: list[int]) -> None:
    config = replace(config, mosaic=0.0, copy_paste=0.0, distillation_every=every)
    spec, data = prepare(config)
    trainer = make_trainer(build(spec), spec, config, ProcessGroup(0, 1, torch.device("cpu")))
    trainer = replace(trainer, teacher=lambda *_: ZeroTarget())
    batches = make_batches(data.training, data.sampler, spec, config)
    assert [step for step in range(1, 7) if "distillation" in trainer.step(batches, step)[0]] == expected
    keeping = replace(trainer, config=replace(config, keep=True, init="model"))
    assert all("distillation" in keeping.step(batches, step)[0] for step in (1, 2, 3)), "that of --keep in all"
