"""Short trainings on chosen photos with chosen parts of their truth: what overfit, mixed and partial share."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from report import say

from blitznet.core.anchors import grids, make_anchors
from blitznet.core.sample import Sample
from blitznet.core.spec import Spec
from blitznet.data.augment import Policy
from blitznet.data.dataset import Dataset
from blitznet.metrics.evaluate import evaluate
from blitznet.metrics.report import Scores
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import join
from blitznet.train.ema import Average
from blitznet.train.loader import Augmented, make_loader
from blitznet.train.optimizer import make_optimizer, set_rate
from blitznet.train.schedule import ema_decay, learning_rate
from blitznet.train.step import update
from blitznet.train.stream import Stream, entries_of, held_out

Change = Callable[[Sample], Sample]
Enough = Callable[[int, BlitzNet], bool]
"""asked after every step with its number and the network; True ends the training"""


def _unchanged(sample: Sample) -> Sample:
    return sample


@dataclass(frozen=True, eq=False)
class Chosen:
    """A Dataset: some photos of another one, each with its truth changed."""

    base: Dataset
    indices: Sequence[int]
    change: Change = _unchanged

    @property
    def title(self) -> str:
        """That of the whole set."""
        return self.base.title

    @property
    def names(self) -> tuple[str, ...]:
        """(K,) class names."""
        return self.base.names

    @property
    def ids(self) -> Sequence[str]:
        """One for each sample."""
        return [self.base.ids[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.change(self.base[self.indices[index]])


def halves(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Indices of the photos in one half and in the other, by a hash of their ids."""
    second = [held_out(sample_id, 0.5) for sample_id in dataset.ids]
    return [k for k, late in enumerate(second) if not late], [k for k, late in enumerate(second) if late]


def without_boxes(sample: Sample) -> Sample:
    """The sample as if no boxes had been annotated."""
    return keep_objects(sample, np.zeros(len(sample.labels), np.bool_), np.zeros_like(sample.box_classes))


def without_mask(sample: Sample) -> Sample:
    """The sample as if no mask had been annotated."""
    return replace(sample, mask=None, mask_classes=np.zeros_like(sample.mask_classes))


def keep_objects(sample: Sample, keep: np.ndarray, box_classes: np.ndarray) -> Sample:
    """The sample with these of its objects (M,) bool, and with boxes said to be annotated for `box_classes` (K,)."""
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
        box_classes=box_classes,
    )


def batches(
    datasets: Sequence[Dataset], spec: Spec, policy: Policy, config: TrainConfig, weights: Sequence[float] = ()
) -> Iterator[Batch]:
    """Endless batches as training takes them; `weights` of the sets say how often their photos are shown."""
    entries = entries_of(datasets, config.holdout)
    shares = np.asarray(weights or [1.0] * len(datasets))[entries[:, 0]]
    stream = Stream(entries, shares, config.seed)
    return make_loader(examples(datasets, spec, policy), stream, batch=config.batch, first=0, workers=config.workers)


def examples(datasets: Sequence[Dataset], spec: Spec, policy: Policy) -> Augmented:
    """Samples made ready for a network."""
    stride = spec.network.segmentation_stride
    map_size = (-(-spec.size[0] // stride), -(-spec.size[1] // stride))
    return Augmented(datasets, policy, size=spec.size, map_size=map_size)


def _never(step: int, net: BlitzNet) -> bool:  # noqa: ARG001 - any step, any network
    return False


def learn(
    net: BlitzNet, spec: Spec, given: Iterator[Batch], config: TrainConfig, *, name: str, enough: Enough = _never
) -> BlitzNet:
    """Train `net` on the batches for `config.steps` steps, as the training loop does but without its files.

    Gives the averaged network where there is an average (`config.ema`), else the network itself.
    """
    begun = time.perf_counter()
    with join(config.device) as group:
        net.train().to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average = Average(net) if config.ema else None
        optimizer = make_optimizer(net, config)
        anchors = torch.from_numpy(make_anchors(spec.anchors, grids(spec.anchors, spec.size)).copy()).to(group.device)
        for step in range(1, config.steps + 1):
            set_rate(optimizer, learning_rate(config, step))
            parts = [next(given).to(group.device)]
            found = update(net, parts, optimizer, anchors=anchors, spec=spec, config=config, group=group)
            if average is not None:
                average.update(net, ema_decay(config, step))
            if step % config.log_every == 0:
                seconds = time.perf_counter() - begun
                say(f"{name}: step {step} of {config.steps}, {seconds:.0f} s, loss {found['total']:.2f}")
            if enough(step, net):
                break
    return net if average is None else average.net


def score(net: BlitzNet, spec: Spec, dataset: Dataset) -> Scores:
    """What the evaluation says: AP50 by the area rule, mIoU at full resolution; the mode of `net` stays."""
    training = net.training
    found = evaluate(Predictor(TorchEngine(net, spec)), [dataset]).total
    net.train(training)
    return found
