"""validate: the network keeps its state, the best model is saved, predictions are drawn."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from torch import nn

from blitznet.data.mapping import MappedDataset
from blitznet.data.sources import open_sources
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.callbacks import RunEvaluation
from blitznet.train.run_folder import BestScore, RunFolder
from blitznet.train.validate import _NUM_IMAGES, evaluate_in_parts, preserve_modes, select_samples, validate
from support import synthetic_data, tiny_models

PAPER, _ = tiny_models.specs()


@pytest.fixture
def datasets(tmp_path: Path) -> list[MappedDataset]:
    big = synthetic_data.draw(3, size=(500, 600), seed=3)
    texts = [
        synthetic_data.write_voc(tmp_path / "a", synthetic_data.draw(11)),
        synthetic_data.write_voc(tmp_path / "b", big),
    ]
    return open_sources(texts, synthetic_data.NAMES)


def evaluated(*arguments: Any, **options: Any) -> RunEvaluation:
    evaluation = validate(*arguments, **options)
    assert evaluation is not None, "one process"
    return evaluation


def make_net(seed: int = 0) -> BlitzNet:
    torch.manual_seed(seed)
    return build(PAPER)


def test_layers_keep_their_modes(datasets: list[MappedDataset], tmp_path: Path) -> None:
    net = make_net().train()
    frozen = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in frozen[::2]:
        module.eval()
    before = [module.training for module in net.modules()]
    statistics = {name: value.clone() for name, value in net.named_buffers()}
    validate(net, PAPER, datasets[:1], RunFolder(tmp_path), 3)
    assert [module.training for module in net.modules()] == before
    assert {True, False} == {*before}
    assert all(torch.equal(value, statistics[name]) for name, value in net.named_buffers())


def test_modes_are_restored_after_an_interrupt() -> None:
    def interrupted(net: nn.Module) -> None:
        with preserve_modes(net):
            net.eval()
            raise KeyboardInterrupt

    net = make_net().train()
    with pytest.raises(KeyboardInterrupt):
        interrupted(net)
    assert all(module.training for module in net.modules())


def test_scores_drawings_and_best_model(datasets: list[MappedDataset], tmp_path: Path) -> None:
    folder, calls = RunFolder(tmp_path), []
    evaluation = evaluated(make_net(), PAPER, datasets, folder, 40, after_image=lambda: calls.append(1))
    scores = evaluation.scores
    assert (evaluation.step, evaluation.is_best) == (40, True)
    assert evaluation.total.segmentation.miou == scores["score/miou"]
    assert {"score/ap50", "score/miou"} <= {*scores} <= {"score/ap50", "score/ap50_frequent", "score/miou"}
    assert len(calls) == 14
    assert folder.read_best() == BestScore(sum(scores.values()), 40)
    with Pillow.open(folder.predictions(40)) as sheet:
        assert sheet.width < 4 * 450 + 60  # large images are resized
    best = folder.best.read_bytes()
    folder.best_score.write_text("9.9\n")
    assert not evaluated(make_net(1), PAPER, datasets, folder, 60).is_best
    assert folder.best.read_bytes() == best
    folder.best_score.write_text("-1\n")
    validate(make_net(1), PAPER, datasets, folder, 80)
    assert folder.best.read_bytes() != best
    net, spec = load_model(folder.best)
    assert spec == PAPER
    assert torch.equal(net.state_dict()["encoder.stem.0.weight"], make_net(1).state_dict()["encoder.stem.0.weight"])
    assert sorted(path.name for path in folder.predictions(0).parent.iterdir()) == [
        f"00000{n}.jpg" for n in (40, 60, 80)
    ]


def test_an_equal_score_is_not_better(datasets: list[MappedDataset], tmp_path: Path) -> None:
    """Otherwise --patience would never end a run whose score stays the same."""
    folder = RunFolder(tmp_path)
    outcomes = [evaluated(make_net(), PAPER, datasets[:1], folder, step).is_best for step in (1, 2)]
    assert outcomes == [True, False]
    best = folder.read_best()
    assert best is not None
    assert best.step == 1


@dataclass
class SequentialGroup:
    """Processes that run one after another, the main process last; it broadcasts its tensors before."""

    rank: int
    world_size: int
    main_tensors: list[torch.Tensor]
    gathered: list[Any]

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor, main_tensor in zip(tensors, self.main_tensors, strict=True):
            tensor.copy_(main_tensor)

    def gather(self, value: Any) -> list[Any] | None:
        self.gathered.insert(0, value)
        return self.gathered if self.is_main_process else None


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_evaluation_in_parts_equals_that_of_the_main_process(datasets: list[MappedDataset], world_size: int) -> None:
    """Also if a set has fewer images than there are processes, and batch norms of the processes differ."""
    main, config = make_net(), EvalConfig(tasks=PAPER.tasks)
    gathered: list[Any] = []
    for name, value in main.named_buffers():
        if name.endswith("running_mean"):
            value.add_(0.1)
    statistics = [value.clone() for value in main.buffers()]
    report, calls = None, []
    for rank in reversed(range(world_size)):
        net = main if rank == 0 else make_net()
        before = [value.clone() for value in net.buffers()]
        group = SequentialGroup(rank, world_size, statistics, gathered)
        report = evaluate_in_parts(
            net,
            PAPER,
            datasets,
            config,
            group,  # type: ignore[arg-type] # has what is used of a ProcessGroup
            after_image=lambda: calls.append(1),
        )
        assert (report is not None) == (rank == 0)
        assert all(map(torch.equal, net.buffers(), before)), "a process trains on with its own statistics"
    expected = evaluate(Predictor(TorchEngine(main, PAPER)), datasets, config)
    assert report == expected
    assert expected.total.segmentation.miou is not None
    assert len(calls) == 14


def test_scores_of_one_task(datasets: list[MappedDataset], tmp_path: Path) -> None:
    spec = replace(PAPER, tasks=("segmentation",))
    torch.manual_seed(0)
    assert {*evaluated(build(spec), spec, datasets[:1], RunFolder(tmp_path), 1).scores} == {"score/miou"}


def test_drawn_samples_are_spread_over_all_sets(datasets: list[MappedDataset]) -> None:
    ids = [sample.id for sample in select_samples(datasets)]
    assert ids == [sample.id for sample in select_samples(datasets)]
    assert ids == ["toy_0000", "toy_0003", "toy_0006", "toy_0010", "toy_0000", "toy_0001", "toy_0002"]
    assert len(select_samples(datasets[:1])) == _NUM_IMAGES
    assert len(select_samples(datasets[1:])) == 3
