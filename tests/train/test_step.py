"""update: parts of a batch give the same step, and a loss that is not finite changes no weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.spec import Spec
from blitznet.data.augment import LIGHT
from blitznet.data.sources import open_sources
from blitznet.nets.blitznet import BlitzNet, build
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig, TrainPrecision
from blitznet.train.distributed import ProcessGroup
from blitznet.train.loader import AugmentedDataset, make_loader
from blitznet.train.optimizer import make_optimizer
from blitznet.train.sampler import EpochSampler, list_entries
from blitznet.train.step import NonFiniteLossError, update
from support import synthetic_data, tiny_models

PAPER, _ = tiny_models.specs()
ALONE = ProcessGroup(0, 1, torch.device("cpu"))


def step(
    net: BlitzNet, batches: Sequence[Batch], config: TrainConfig, *, spec: Spec = PAPER, **others: Any
) -> dict[str, float]:
    anchors = torch.from_numpy(generate_anchors(PAPER.anchors, feature_map_sizes(PAPER.anchors, PAPER.size)).copy())
    optimizer = make_optimizer(net, config)
    return update(net, batches, optimizer, anchors=anchors, spec=spec, config=config, group=ALONE, **others)


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


def test_gradients_of_an_earlier_step_do_not_count(tmp_path: Path) -> None:
    (batch,) = load_batches(tmp_path, 1)
    nets = [make_net(), make_net()]
    for parameter in nets[1].parameters():
        parameter.grad = torch.ones_like(parameter)
    for net in nets:
        step(net, [batch], TrainConfig(batch=8, optimizer="sgd"))
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_teacher_computes_in_the_precision_of_training(tmp_path: Path, precision: TrainPrecision) -> None:
    kinds: list[torch.dtype] = []

    def teacher(images: torch.Tensor, *_: Any) -> "ConstantTarget":
        kinds.append(torch.nn.functional.conv2d(images, torch.ones(1, 3, 1, 1)).dtype)
        return ConstantTarget()

    step(
        make_net(),
        load_batches(tmp_path, 1),
        TrainConfig(batch=8, distillation=1.0, precision=precision),
        teacher=teacher,
    )
    assert kinds == [getattr(torch, precision)]


def test_bfloat16_is_close_to_float32(tmp_path: Path) -> None:
    (batch,) = load_batches(tmp_path, 1)
    exact = step(make_net(), [batch], TrainConfig(batch=8))
    rough = step(make_net(), [batch], TrainConfig(batch=8, precision="bfloat16"))
    assert rough == pytest.approx(exact, rel=0.05)


@dataclass(frozen=True)
class ConstantTarget:
    """The target of a teacher whose loss is the sum of the offsets divided by the objects."""

    num_objects: int = 8
    num_cells: int = 0

    def loss(self, outputs: HeadOutputs, num_objects: float, num_cells: float) -> torch.Tensor:
        assert outputs.offsets is not None
        return outputs.offsets.square().sum() / num_objects


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, {"segmentation": 1.0, "distillation": 0.0}),
        ({"segmentation_weight": 2.5}, {"segmentation": 2.5, "distillation": 0.0}),
        ({"distillation": 0.25}, {"segmentation": 1.0, "distillation": 0.25}),
        ({"distillation": 0.25, "distillation_every": 3}, {"segmentation": 1.0, "distillation": 0.75}),
        ({"keep": True, "init": "model", "keep_weight": 3.0}, {"segmentation": 1.0, "distillation": 3.0}),
    ],
)
def test_losses_have_the_weights_of_the_config(
    tmp_path: Path, options: dict[str, Any], weights: dict[str, float]
) -> None:
    config = TrainConfig(batch=8, **options)
    sums = step(make_net(), load_batches(tmp_path, 1), config, teacher=lambda *_: ConstantTarget())
    assert sums["distillation"] > 0
    expected = sums["classification"] + sums["localization"]
    expected += sum(weight * sums[name] for name, weight in weights.items())
    assert sums["total"] == pytest.approx(expected, rel=1e-5)


def test_offsets_are_encoded_with_the_variances_of_the_spec(tmp_path: Path) -> None:
    (batch,) = load_batches(tmp_path, 1)
    spec = replace(PAPER, anchors=replace(PAPER.anchors, variances=(0.2, 0.2, 0.4, 0.4)))
    fine, coarse = (step(make_net(), [batch], TrainConfig(batch=8), spec=each) for each in (PAPER, spec))
    assert coarse["localization"] < 0.8 * fine["localization"]
    assert coarse["classification"] == fine["classification"]


def test_matching_and_mining_follow_the_original_with_match_original(tmp_path: Path) -> None:
    """Two equal objects have an anchor each in the paper; in the original the second one has none."""
    (batch,) = load_batches(tmp_path, 1)
    box = torch.tensor([[0.31, 0.31, 0.33, 0.33]])  # so small that only its best anchors match
    twice = replace(
        batch,
        boxes=box.repeat(2, 1),
        labels=torch.zeros(2, dtype=torch.int64),
        crowd=torch.zeros(2, dtype=torch.bool),
        image_index=torch.zeros(2, dtype=torch.int64),
    )
    once = replace(twice, **{name: getattr(twice, name)[:1] for name in ("boxes", "labels", "crowd", "image_index")})
    losses = {
        (original, len(each.boxes)): step(make_net(), [each], TrainConfig(batch=8, match_original=original))
        for original in (False, True)
        for each in (once, twice)
    }
    assert losses[True, 1]["localization"] == losses[True, 2]["localization"]
    assert losses[False, 1]["localization"] != losses[False, 2]["localization"]
    # negatives are mined per image in the paper, so the seven images without objects have some too
    assert losses[False, 1]["classification"] > 1.5 * losses[True, 1]["classification"]


def test_labels_of_classes_that_no_head_predicts_do_not_change_the_losses(tmp_path: Path) -> None:
    """Their logits are constant: a label would have a loss of 1000, which no step lowers."""
    spec = replace(PAPER, detection_classes=PAPER.classes[2:], segmentation_classes=PAPER.classes[:2])
    (batch,) = load_batches(tmp_path, 1)
    batch.box_classes[:, :2] = batch.mask_classes[:, 2] = False
    square = batch.labels == 2
    assert 0 < square.sum() < len(square)
    assert (batch.class_map == 3).any()
    without = replace(
        batch,
        **{name: getattr(batch, name)[square] for name in ("boxes", "labels", "image_index", "crowd")},
        class_map=batch.class_map * (batch.class_map != 3),
    )
    sums = []
    for each in (batch, without):
        torch.manual_seed(0)
        sums.append(step(build(spec).eval(), [each], TrainConfig(batch=8), spec=spec))
    assert sums[0] == sums[1]
    assert sums[0]["total"] < 50
