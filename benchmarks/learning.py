"""Short trainings on chosen images with chosen parts of their truth: what overfit, mixed and partial share."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.sample import Sample
from blitznet.core.spec import Spec
from blitznet.data.dataset import Dataset
from blitznet.metrics.evaluate import evaluate
from blitznet.metrics.report import Scores
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import init_distributed
from blitznet.train.ema import ModelEma
from blitznet.train.initialize import make_network
from blitznet.train.loader import Augmented, make_loader
from blitznet.train.loop import POLICIES
from blitznet.train.optimizer import make_optimizer, set_rate
from blitznet.train.recipes import lite
from blitznet.train.sampler import EpochSampler, entries_of, held_out
from blitznet.train.schedule import ema_decay, learning_rate
from blitznet.train.step import update
from report import say

Change = Callable[[Sample], Sample]
Enough = Callable[[int, BlitzNet], bool]
"""asked after every step with its number and the network; True ends the training"""


def _unchanged(sample: Sample) -> Sample:
    return sample


@dataclass(frozen=True, eq=False)
class Chosen:
    """A Dataset: some images of another one, each with its truth changed."""

    base: Dataset
    indices: Sequence[int]
    change: Change = _unchanged

    @property
    def title(self) -> str:
        """That of the whole set."""
        return self.base.title

    @property
    def class_names(self) -> tuple[str, ...]:
        """(K,) class names."""
        return self.base.class_names

    @property
    def ids(self) -> Sequence[str]:
        """One for each sample."""
        return [self.base.ids[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.change(self.base[self.indices[index]])


def halves(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Indices of the images in one half and in the other, by a hash of their ids."""
    second = [held_out(sample_id, 0.5) for sample_id in dataset.ids]
    return [k for k, late in enumerate(second) if not late], [k for k, late in enumerate(second) if late]


def without_boxes(sample: Sample) -> Sample:
    """The sample as if no boxes had been annotated."""
    return keep_objects(sample, np.zeros(len(sample.labels), np.bool_), np.zeros_like(sample.annotated_box_classes))


def without_mask(sample: Sample) -> Sample:
    """The sample as if no mask had been annotated."""
    return replace(sample, mask=None, annotated_mask_classes=np.zeros_like(sample.annotated_mask_classes))


def keep_objects(sample: Sample, keep: NDArray[np.bool_], box_classes: NDArray[np.bool_]) -> Sample:
    """The sample with these of its objects (M,) bool, and with boxes said to be annotated for `box_classes` (K,)."""
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
        annotated_box_classes=box_classes,
    )


def batches(
    datasets: Sequence[Dataset], spec: Spec, config: TrainConfig, stream: EpochSampler | None = None
) -> Iterator[Batch]:
    """Endless batches as training takes them; every image as often as any other where no `stream` says otherwise."""
    entries = entries_of(datasets, config.holdout)
    order = stream or EpochSampler(entries, np.ones(len(entries)), config.seed)
    return make_loader(examples(datasets, spec, config), order, batch=config.batch, first=0, workers=config.workers)


def examples(datasets: Sequence[Dataset], spec: Spec, config: TrainConfig) -> Augmented:
    """Samples made ready for a network, augmented as `config` says."""
    stride = spec.network.segmentation_stride
    map_size = (-(-spec.size[0] // stride), -(-spec.size[1] // stride))
    return Augmented(datasets, POLICIES[config.policy], size=spec.size, map_size=map_size)


def _never(step: int, net: BlitzNet) -> bool:  # noqa: ARG001 - any step, any network
    return False


def learn(
    net: BlitzNet, spec: Spec, given: Iterator[Batch], config: TrainConfig, *, name: str, enough: Enough = _never
) -> BlitzNet:
    """Train `net` on the batches for `config.steps` steps, as the training loop does but without its files.

    Gives the averaged network where there is an average (`config.ema`), else the network itself.
    """
    begun = time.perf_counter()
    if config.threads:
        torch.set_num_threads(config.threads)
    with init_distributed(config.device) as group:
        net.train().to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub
        average = ModelEma(net) if config.ema else None
        optimizer = make_optimizer(net, config)
        anchors = torch.from_numpy(
            generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy()
        ).to(group.device)
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
    if average is None:
        return net
    assert isinstance(average.net, BlitzNet), "a copy of what was given"
    return average.net


def score(net: BlitzNet, spec: Spec, dataset: Dataset) -> Scores:
    """What the evaluation says: AP50 by the area rule, mIoU at full resolution; the mode of `net` stays."""
    training = net.training
    found = evaluate(Predictor(TorchEngine(net, spec)), [dataset]).total
    net.train(training)
    return found


def shortened(*, steps: int, batch: int, seed: int, workers: int, threads: int) -> TrainConfig:
    """The shipped model's recipe for fewer steps; rare classes are not repeated, so that runs differ in truth only."""
    config = replace(lite(), steps=steps, batch=batch, seed=seed, workers=workers, threads=threads)
    return replace(config, repeat=0.0, warmup=min(config.warmup, steps // 8), log_every=50)


def taught(name: str, sets: Sequence[Dataset], val: Dataset, config: TrainConfig, side: int) -> Scores:
    """The scores on `val` of the network that learned from the sets, images `side` pixels wide and high."""
    net, spec = make_network(config, ())
    spec = replace(spec, size=(side, side))
    return score(learn(net, spec, batches(sets, spec, config), config, name=name), spec, val)
