"""One update of the weights."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from blitznet.core.errors import BlitzNetError
from blitznet.core.spec import Spec
from blitznet.nets.deploy import normalize
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import Group
from blitznet.train.losses import Counts, LossConfig, Losses, TeacherTargets, count, losses
from blitznet.train.matching import match


class NonFiniteLossError(BlitzNetError):
    """The loss is no number any more; says which part, and on which images."""


def update(
    net: nn.Module,
    batches: Sequence[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    anchors: Tensor,
    spec: Spec,
    config: TrainConfig,
    group: Group,
    teacher: SSDLiteTeacher | None = None,
) -> dict[str, float]:
    """Learn from this process's share of a batch, cut into `config.accumulate` parts; gives the share's losses.

    What the losses are divided by is counted over all parts and processes first, so that the gradient is
    that of the undivided batch. Raises NonFiniteLossError before anything is learned from a broken loss.
    """
    targets = [match(anchors, batch, variances=spec.anchors.variances, release=config.release) for batch in batches]
    counts = [count(batch, target) for batch, target in zip(batches, targets, strict=True)]
    positives, pixels = group.all_reduce_sum(sum(c.positives for c in counts), sum(c.labelled_pixels for c in counts))
    options = LossConfig(
        segmentation=config.segmentation_weight, distillation=config.distillation, release=config.release
    )
    whole, shares = Counts(positives, pixels), group.world * len(batches)
    optimizer.zero_grad(set_to_none=True)
    sums: dict[str, float] = {}
    for batch, target in zip(batches, targets, strict=True):
        last = batch is batches[-1]
        with nullcontext() if last or group.world == 1 else net.no_sync():  # type: ignore[operator] # of DDP
            with torch.autocast(group.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                images = normalize(batch.images, spec)
                heads = net(images)
                lesson = None if teacher is None else TeacherTargets(teacher(images), teacher.known)
            found = losses(heads, batch, target, options, lesson=lesson, whole=whole, shares=shares)
            _require_finite(found, batch)
            (found.total / len(batches)).backward()  # type: ignore[no-untyped-call]
        for name, value in found.parts().items():
            sums[name] = sums.get(name, 0.0) + value / len(batches)
    if config.clip:
        sums["gradient"] = float(nn.utils.clip_grad_norm_(net.parameters(), config.clip))
    optimizer.step()
    return sums


def _require_finite(found: Losses, batch: Batch) -> None:
    if bool(torch.isfinite(found.total)):
        return
    parts = ", ".join(f"{name} {value:g}" for name, value in found.parts().items())
    raise NonFiniteLossError(
        f"the loss is not finite ({parts}) on {', '.join(batch.ids)}; lower --lr, set --clip, or look at the images"
    )
