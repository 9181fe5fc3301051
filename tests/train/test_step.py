"""One update: cut into parts it is the same, and a broken loss teaches nothing."""

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
from blitznet.train.distributed import Group
from blitznet.train.loader import Augmented, make_loader
from blitznet.train.optimizer import make_optimizer
from blitznet.train.sampler import EpochSampler, entries_of
from blitznet.train.step import NonFiniteLossError, update
from support import synthetic_data, tiny_models

PAPER, _ = tiny_models.specs()
ALONE = Group(0, 1, torch.device("cpu"))


def learn(net: BlitzNet, batches: Sequence[Batch], config: TrainConfig) -> dict[str, float]:
    anchors = torch.from_numpy(generate_anchors(PAPER.anchors, feature_map_sizes(PAPER.anchors, PAPER.size)).copy())
    optimizer = make_optimizer(net, config)
    return update(net, batches, optimizer, anchors=anchors, spec=PAPER, config=config, group=ALONE)


def fresh() -> BlitzNet:
    torch.manual_seed(0)
    return build(PAPER).eval()  # frozen statistics


def loaded(root: Path, parts: int) -> list[Batch]:
    datasets = open_sources([synthetic_data.write_voc(root, synthetic_data.draw(9))], synthetic_data.NAMES)
    entries = entries_of(datasets, 0.0)
    examples = Augmented(datasets, LIGHT, size=PAPER.size, map_size=(8, 8))
    stream = EpochSampler(entries, np.ones(len(entries)), 0)
    return list(islice(make_loader(examples, stream, batch=8, first=0, accumulate=parts), parts))


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_are_the_same_update(tmp_path: Path, parts: int, clip: float) -> None:
    whole, cut = fresh(), fresh()
    batches = loaded(tmp_path, parts)
    positives = [len(batch.labels) for batch in batches]
    assert len({*positives}) > 1, "parts that hold different numbers of objects"
    settings = {"optimizer": "nesterov", "lr": 0.05, "batch": 8, "clip": clip}
    first = learn(whole, loaded(tmp_path, 1), TrainConfig(**settings))  # type: ignore[arg-type]
    second = learn(cut, batches, TrainConfig(**settings, accumulate=parts))  # type: ignore[arg-type]
    assert first == pytest.approx(second, rel=1e-4)
    before = fresh().state_dict()
    assert not torch.equal(before["encoder.stem.0.weight"], whole.state_dict()["encoder.stem.0.weight"])
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, cut.state_dict()[name], rtol=0, atol=1e-5)


def test_a_broken_loss_names_its_parts_and_images_and_teaches_nothing(tmp_path: Path) -> None:
    net = fresh()
    (batch,) = loaded(tmp_path, 1)
    with torch.no_grad():
        net.encoder.state_dict()["stem.0.weight"][0, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(NonFiniteLossError) as caught:
        learn(net, [batch], TrainConfig(batch=8))
    message = str(caught.value)
    assert message.startswith(
        "the loss is not finite (segmentation nan, classification nan, localisation nan, total nan)"
    )
    assert message.endswith("; lower --lr, set --clip, or look at the images")
    assert all(name in message for name in batch.ids)
    after = net.state_dict()
    assert all(torch.equal(value, after[name]) or "stem.0" in name for name, value in before.items())


def test_bfloat16_is_close_to_float32(tmp_path: Path) -> None:
    (batch,) = loaded(tmp_path, 1)
    exact = learn(fresh(), [batch], TrainConfig(batch=8))
    rough = learn(fresh(), [batch], TrainConfig(batch=8, precision="bfloat16"))
    assert rough == pytest.approx(exact, rel=0.05)
