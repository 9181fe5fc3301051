"""One optimizer step."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import astuple

import torch
from torch import Tensor, nn

from blitznet.core.errors import BlitzNetError
from blitznet.core.spec import Spec
from blitznet.nets.deploy import normalize
from blitznet.train.batch import Batch, drop_unpredicted
from blitznet.train.box_supervision import BoxRegions
from blitznet.train.config import TrainConfig, TrainPrecision
from blitznet.train.distillation import DistillationTeacher, TeacherTargets
from blitznet.train.distributed import ProcessGroup
from blitznet.train.losses import LossConfig, Losses, Normalizers, count_normalizers, losses
from blitznet.train.matching import Targets, match


class NonFiniteLossError(BlitzNetError):
    """The loss is infinite or not a number; the message names the loss and the images."""


def update(
    net: nn.Module,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    anchors: Tensor,
    spec: Spec,
    config: TrainConfig,
    group: ProcessGroup,
    teacher: DistillationTeacher | None = None,
) -> dict[str, float]:
    """Update the weights with this process's part of a batch.

    The normalizers of the losses are summed over all parts and processes first, so the gradient equals that of the
    whole batch.

    Args:
        net: The network in training mode.
        batches: The parts that `config.accumulate` cuts this process's batch into.
        optimizer: Its learning rate is set already.
        anchors: (A, 4) cx cy w h, fractions of the image.
        spec: The network's spec.
        config: The run's options.
        group: The processes of the run.
        teacher: Computes the targets of distillation.

    Returns:
        This process's losses by name, and `grad_norm` if gradients are clipped.

    Raises:
        NonFiniteLossError: A loss is not finite; the weights are unchanged.
    """
    batches = [drop_unpredicted(batch, spec) for batch in batches]
    targets = [
        match(anchors, batch, variances=spec.anchors.variances, match_original=config.match_original)
        for batch in batches
    ]
    expected = [
        None if teacher is None else _teacher_targets(teacher, batch, target, spec, config.precision)
        for batch, target in zip(batches, targets, strict=True)
    ]
    regions = [None if config.box_segmentation_weight is None else BoxRegions.of(batch) for batch in batches]
    counts = [astuple(count_normalizers(*labels)) for labels in zip(batches, targets, expected, regions, strict=True)]
    normalizers = Normalizers(*group.all_reduce_sum(*(sum(column) for column in zip(*counts, strict=True))))
    loss_config = LossConfig(
        segmentation=config.segmentation_weight,
        distillation=config.keep_weight if config.keep else (config.distillation or 0.0) * config.distillation_every,
        soft_labels=config.soft_label_weight,
        box_segmentation=config.box_segmentation_weight or 0.0,
        match_original=config.match_original,
    )
    num_parts = group.world_size * len(batches)
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    for batch, target, teacher_targets, box_regions in zip(batches, targets, expected, regions, strict=True):
        is_last = batch is batches[-1]
        with nullcontext() if is_last or group.world_size == 1 else net.no_sync():  # type: ignore[operator] # of DDP
            with torch.autocast(group.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                outputs = net(normalize(batch.images, spec))
            result = losses(
                outputs,
                batch,
                target,
                loss_config,
                teacher_targets=teacher_targets,
                box_regions=box_regions,
                normalizers=normalizers,
                num_parts=num_parts,
            )
            _require_finite(result, batch)
            (result.total / len(batches)).backward()  # type: ignore[no-untyped-call]
        for name, value in result.to_floats().items():
            sums[name] = sums.get(name, 0.0) + value / len(batches)
    if config.clip_grad is not None:
        sums["grad_norm"] = float(nn.utils.clip_grad_norm_(net.parameters(), config.clip_grad))
    optimizer.step()
    return sums


def _teacher_targets(
    teacher: DistillationTeacher, batch: Batch, targets: Targets, spec: Spec, precision: TrainPrecision
) -> TeacherTargets:
    """The teacher's targets for a batch, in the precision of training."""
    with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return teacher(normalize(batch.images, spec), batch, targets)


def _require_finite(result: Losses, batch: Batch) -> None:
    if bool(torch.isfinite(result.total)):
        return
    values = ", ".join(f"{name} {value:g}" for name, value in result.to_floats().items())
    raise NonFiniteLossError(
        f"{', '.join(batch.ids)}: expected a finite loss, got {values}; "
        "lower --lr, set --clip-grad, or check the images"
    )
