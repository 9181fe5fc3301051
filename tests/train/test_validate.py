"""Evaluation in the middle of a run: it leaves the network as it was, keeps the best, and draws."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from torch import nn

from blitznet.data.mapping import MappedDataset
from blitznet.data.sources import open_sources
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.model_files import load_model
from blitznet.train.run_folder import RunFolder
from blitznet.train.validate import PICTURES, chosen, modes_kept, validate
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


def fresh(seed: int = 0) -> BlitzNet:
    torch.manual_seed(seed)
    return build(PAPER)


def test_every_layer_gets_its_mode_back(datasets: list[MappedDataset], tmp_path: Path) -> None:
    net = fresh().train()
    frozen = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in frozen[::2]:
        module.eval()
    before = [module.training for module in net.modules()]
    statistics = {name: value.clone() for name, value in net.named_buffers()}
    validate(net, PAPER, datasets[:1], RunFolder(tmp_path), 3)
    assert [module.training for module in net.modules()] == before
    assert {True, False} == {*before}
    assert all(torch.equal(value, statistics[name]) for name, value in net.named_buffers())


def test_modes_come_back_after_an_interruption() -> None:
    def interrupted(net: nn.Module) -> None:
        with modes_kept(net):
            net.eval()
            raise KeyboardInterrupt

    net = fresh().train()
    with pytest.raises(KeyboardInterrupt):
        interrupted(net)
    assert all(module.training for module in net.modules())


def test_scores_pictures_and_the_best(datasets: list[MappedDataset], tmp_path: Path) -> None:
    folder, calls = RunFolder(tmp_path), []
    scores = validate(fresh(), PAPER, datasets, folder, 40, between=lambda: calls.append(1))
    assert {"score/ap50", "score/miou"} <= {*scores} <= {"score/ap50", "score/ap50_pooled", "score/miou"}
    assert len(calls) == 14
    assert float(folder.best_score.read_text()) == pytest.approx(sum(scores.values()))
    with Pillow.open(folder.picture(40)) as picture:
        assert picture.width < 4 * 450 + 60  # large images are made smaller
    kept = folder.best.read_bytes()
    folder.best_score.write_text("9.9\n")
    validate(fresh(1), PAPER, datasets, folder, 60)
    assert folder.best.read_bytes() == kept
    folder.best_score.write_text("-1\n")
    validate(fresh(1), PAPER, datasets, folder, 80)
    assert folder.best.read_bytes() != kept
    net, spec = load_model(folder.best)
    assert spec == PAPER
    assert torch.equal(net.state_dict()["encoder.stem.0.weight"], fresh(1).state_dict()["encoder.stem.0.weight"])
    assert sorted(path.name for path in folder.picture(0).parent.iterdir()) == [f"00000{n}.jpg" for n in (40, 60, 80)]


def test_one_task_has_its_own_scores_only(datasets: list[MappedDataset], tmp_path: Path) -> None:
    spec = replace(PAPER, tasks=("segmentation",))
    torch.manual_seed(0)
    assert {*validate(build(spec), spec, datasets[:1], RunFolder(tmp_path), 1)} == {"score/miou"}


def test_the_pictures_show_the_same_images_of_all_sets(datasets: list[MappedDataset]) -> None:
    found = [sample.id for sample in chosen(datasets)]
    assert found == [sample.id for sample in chosen(datasets)]
    assert found == ["toy_0000", "toy_0003", "toy_0006", "toy_0010", "toy_0000", "toy_0001", "toy_0002"]
    assert len(chosen(datasets[:1])) == PICTURES
    assert len(chosen(datasets[1:])) == 3
