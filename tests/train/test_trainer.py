"""Mixing and the cache in a run: the same samples in every process, after every interruption."""

from dataclasses import dataclass, replace
from pathlib import Path

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
from blitznet.train.trainer import augmented, make_batches, make_trainer
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
