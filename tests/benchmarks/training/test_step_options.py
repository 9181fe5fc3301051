from dataclasses import astuple
from pathlib import Path

import pytest
import torch

from benchmarks.training.step_options import (
    Configuration,
    Options,
    Parts,
    configurations,
    evenly_spaced,
    former_spec,
    make_row,
    make_table,
    measure,
    use_unfolded_norms,
)
from blitznet.core.sample import Dataset
from blitznet.data.sources import open_sources
from blitznet.nets.mobilenet import LiteConv
from support import synthetic_data, tiny_models

OPTIONS = Options(batch=2, steps=1, rounds=2, images=4, workers=0, cache_epochs=1)


@pytest.fixture
def datasets(tmp_path: Path) -> list[Dataset]:
    text = synthetic_data.write_voc(tmp_path, synthetic_data.draw(5))
    return list(open_sources([text], synthetic_data.NAMES))


def test_configurations_are_measured_in_turns(datasets: list[Dataset]) -> None:
    _, spec = tiny_models.specs()
    frozen = {"freeze_bn": ("downscale",)}
    chosen = {
        "former": Configuration(spec, frozen, is_folded=False),
        "cache": Configuration(spec, frozen | {"cache": "ram"}),
    }
    rows = measure(OPTIONS, chosen, datasets)
    assert [row.name for row in rows] == ["former", "cache"]
    for row in rows:
        assert len(row.turns) == 2
        assert min(astuple(row.parts)) >= 0
        assert row.parts.forward > 0
        assert row.parts.backward > 0
        assert row.parts.total in row.turns
        assert row.images_per_second == pytest.approx(2000 / row.parts.total)
    table = make_table(rows, OPTIONS)
    assert table.rows[0][-1] == "1.00"
    assert len(table.rows[0]) == len(table.columns)


def test_the_turn_with_the_median_total_is_reported() -> None:
    turns = [Parts(0, 0, total, 0, 0) for total in (3.0, 9.0, 5.0)]
    assert make_row("a", turns, 16).parts.total == 5.0


def test_unfolded_layers_compute_the_same() -> None:
    torch.manual_seed(0)
    layer = LiteConv(4, 6, 3).train()
    layer.norm.running_mean = torch.randn(6)
    layer.norm.running_var = torch.rand(6) + 0.5
    layer.norm.eval()
    x = torch.randn(2, 4, 8, 8)
    folded = layer(x)
    use_unfolded_norms(layer)
    torch.testing.assert_close(layer(x), folded, atol=1e-5, rtol=1e-5)


def test_images_are_evenly_spaced(datasets: list[Dataset]) -> None:
    assert evenly_spaced([*datasets, *datasets], 3).tolist() == [[0, 0], [0, 4], [1, 4]]
    assert len(evenly_spaced(datasets, 99)) == 5


def test_the_former_architecture_has_its_additions() -> None:
    network = former_spec().network
    assert network.family == "lite"
    assert network.ssd_head
    assert network.ssd_box_head
    assert network.detection_prior
    assert next(iter(configurations())) == "former"
    assert not configurations()["former"].is_folded
