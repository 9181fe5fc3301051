"""SSDLite as a teacher in a step; test_losses.py compares the loss of its targets with a slow version."""

import numpy as np
import torch
from torch import Tensor

from blitznet.data.train_sample import TrainSample
from blitznet.nets.parts import HeadOutputs
from blitznet.train.batch import collate
from blitznet.train.distillation import SSDLiteDistillation
from blitznet.train.matching import Targets


class FixedPredictions:
    """Acts as SSDLite with fixed predictions."""

    known = torch.tensor([0, 2])

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.tensor([[[0.0, 4.0], [4.0, 0.0]]])
        return logits.expand(len(images), 2, 2), torch.ones(len(images), 2, 4)


def test_targets_of_ssdlite_count_positives() -> None:
    flags = np.ones(2, np.bool_)
    sample = TrainSample(
        id="",
        image=np.zeros((8, 8, 3), np.uint8),
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, np.bool_),
        class_map=np.zeros((1, 1), np.uint8),
        annotated_box_classes=flags,
        annotated_mask_classes=flags,
    )
    labels = torch.tensor([[0, 1, 2]])
    positives = (labels.view(-1) > 0).nonzero().flatten()
    matched = Targets(labels, positives, positives, torch.zeros(2, 4))
    teacher = SSDLiteDistillation(FixedPredictions())
    targets = teacher(torch.zeros(1, 3, 8, 8), collate([sample]), matched)
    assert (targets.num_objects, targets.num_cells) == (2, 0)
    logits = torch.zeros(1, 3, 3, requires_grad=True)
    offsets = torch.zeros(1, 3, 4, requires_grad=True)
    loss = targets.loss(HeadOutputs(offsets, logits, None), 2.0, 1.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() > 0
    assert logits.grad is not None
    assert logits.grad[0, 1, 2] < 0, "the anchor that SSDLite takes for the second class"
    assert not logits.grad[0, 0].any(), "an anchor without a prediction of SSDLite"
    assert not logits.grad[..., 1].any(), "a class that SSDLite lacks"
    assert offsets.grad is not None
    assert (offsets.grad[0, 1] < 0).all(), "the box of the same anchor"
    assert not offsets.grad[0, [0, 2]].any(), "boxes of anchors without a prediction of SSDLite"
    assert targets.loss(HeadOutputs(None, None, logits), 2.0, 1.0).item() == 0
