"""update: parts of a batch give the same step, and a loss that is not finite changes no weights."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.data.augment import LIGHT
from blitznet.data.sources import open_sources
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import ProcessGroup
from blitznet.train.loader import AugmentedDataset, make_loader
from blitznet.train.optimizer import make_optimizer
from blitznet.train.sampler import EpochSampler, list_entries
from blitznet.train.step import NonFiniteLossError, update
from support import synthetic_data, tiny_models

PAPER, _ = tiny_models.specs()
ALONE = ProcessGroup(0, 1, torch.device("cpu"))


def step(net: BlitzNet, batches: Sequence[Batch], config: TrainConfig) -> dict[str, float]:
    anchors = torch.from_numpy(generate_anchors(PAPER.anchors, feature_map_sizes(PAPER.anchors, PAPER.size)).copy())
    optimizer = make_optimizer(net, config)
    return update(net, batches, optimizer, anchors=anchors, spec=PAPER, config=config, group=ALONE)


def make_net() -> BlitzNet:
    torch.manual_seed(0)
    return build(PAPER).eval()  # frozen statistics


def load_batches(root: Path, parts: int) -> list[Batch]:
    datasets = open_sources([synthetic_data.write_voc(root, synthetic_data.draw(9))], synthetic_data.NAMES)
    entries = list_entries(datasets, 0.0)
    samples = AugmentedDataset(datasets, LIGHT, size=PAPER.size, map_size=(8, 8))
    sampler = EpochSampler(entries, np.ones(len(entries)), 0)
    return list(islice(make_loader(samples, sampler, batch=8, first=0, accumulate=parts), parts))


@pytest.mark.parametrize("clip_grad", [None, 0.5])
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_equal_one_batch(tmp_path: Path, parts: int, clip_grad: float | None) -> None:
    whole, cut = make_net(), make_net()
    batches = load_batches(tmp_path, parts)
    positives = [len(batch.labels) for batch in batches]
    assert len({*positives}) > 1, "parts with different numbers of objects"
    settings = {"optimizer": "sgd", "lr": 0.05, "batch": 8, "clip_grad": clip_grad}
    first = step(whole, load_batches(tmp_path, 1), TrainConfig(**settings))  # type: ignore[arg-type]
    second = step(cut, batches, TrainConfig(**settings, accumulate=parts))  # type: ignore[arg-type]
    assert first == pytest.approx(second, rel=1e-4)
    before = make_net().state_dict()
    assert not torch.equal(before["encoder.stem.0.weight"], whole.state_dict()["encoder.stem.0.weight"])
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, cut.state_dict()[name], rtol=0, atol=1e-5)


def test_non_finite_loss_names_images_and_changes_no_weights(tmp_path: Path) -> None:
    net = make_net()
    (batch,) = load_batches(tmp_path, 1)
    with torch.no_grad():
        net.encoder.state_dict()["stem.0.weight"][0, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(NonFiniteLossError) as caught:
        step(net, [batch], TrainConfig(batch=8))
    message = str(caught.value)
    values = "segmentation nan, classification nan, localization nan, total nan"
    assert f": expected a finite loss, got {values}; lower --lr, set --clip-grad" in message
    assert all(name in message for name in batch.ids)
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) or "stem.0" in name for name, value in before.items())


def test_bfloat16_is_close_to_float32(tmp_path: Path) -> None:
    (batch,) = load_batches(tmp_path, 1)
    exact = step(make_net(), [batch], TrainConfig(batch=8))
    rough = step(make_net(), [batch], TrainConfig(batch=8, precision="bfloat16"))
    assert rough == pytest.approx(exact, rel=0.05)
