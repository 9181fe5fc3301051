"""Short training runs on selected images with selected annotations, for the benchmarks of learning and training."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._lib.results import DATA, notify
from blitznet.core.sample import Dataset, Sample, Subset
from blitznet.core.spec import Spec
from blitznet.data.hash_split import in_hash_fraction
from blitznet.metrics.evaluate import evaluate
from blitznet.metrics.report import SetScores
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.initialize import make_network
from blitznet.train.recipes import lite_config
from blitznet.train.sampler import EpochSampler, list_entries
from blitznet.train.trainer import fit, make_batches


@dataclass(frozen=True)
class TrainingOptions:
    """Options that all benchmarks of training have."""

    threads: int | None = None
    """Threads of torch. Default: one per core."""
    seed: int = 0
    root: Path = DATA
    """Folder of the images. Default: ../shared/data."""
    json: Path | None = None
    """Write the results to this file."""


def _unchanged(sample: Sample) -> Sample:
    return sample


@dataclass(frozen=True, eq=False)
class ChangedSubset(Subset):
    """The samples of a dataset at `indices`, each with its annotations changed by a function."""

    change: Callable[[Sample], Sample] = _unchanged

    def __getitem__(self, index: int, /) -> Sample:
        return self.change(super().__getitem__(index))


def halves(dataset: Dataset) -> tuple[list[int], list[int]]:
    """Indices of the two halves of a dataset, split by a hash of the ids."""
    in_second = [in_hash_fraction(sample_id, 0.5) for sample_id in dataset.ids]
    first = [index for index, second in enumerate(in_second) if not second]
    return first, [index for index, second in enumerate(in_second) if second]


def without_boxes(sample: Sample) -> Sample:
    """The sample as if no boxes had been annotated."""
    return keep_objects(sample, np.zeros(len(sample.labels), np.bool_), np.zeros_like(sample.annotated_box_classes))


def without_mask(sample: Sample) -> Sample:
    """The sample as if no mask had been annotated."""
    return replace(sample, mask=None, annotated_mask_classes=np.zeros_like(sample.annotated_mask_classes))


def keep_objects(sample: Sample, keep: NDArray[np.bool_], annotated_box_classes: NDArray[np.bool_]) -> Sample:
    """The sample with some of its objects (M,) bool, and with other annotated box classes (K,)."""
    return replace(
        sample,
        boxes=sample.boxes[keep],
        labels=sample.labels[keep],
        difficult=sample.difficult[keep],
        crowd=sample.crowd[keep],
        annotated_box_classes=annotated_box_classes,
    )


def batches(datasets: Sequence[Dataset], spec: Spec, config: TrainConfig) -> Iterator[Batch]:
    """Endless training batches in which all images occur equally often."""
    entries = list_entries(datasets, config.holdout)
    sampler = EpochSampler(entries, np.ones(len(entries)), config.seed)
    return make_batches(datasets, sampler, spec, config)


def log_steps(name: str, config: TrainConfig) -> Callable[[int, dict[str, float]], None]:
    """A callback for `fit` that prints every `config.log_every` steps."""
    start = time.perf_counter()

    def log(step: int, losses: dict[str, float]) -> None:
        if step % config.log_every == 0:
            seconds = time.perf_counter() - start
            notify(f"{name}: step {step} of {config.steps}, {seconds:.0f} s, loss {losses['total']:.2f}")

    return log


def score(net: BlitzNet, spec: Spec, dataset: Dataset) -> SetScores:
    """AP50 and mIoU of a network; its training mode is restored."""
    training = net.training
    scores = evaluate(Predictor(TorchEngine(net, spec)), [dataset]).total
    net.train(training)
    return scores


def short_config(*, steps: int, batch: int, seed: int, workers: int, threads: int | None) -> TrainConfig:
    """The config of the default model for fewer steps, without repeat-factor sampling."""
    config = replace(lite_config(), steps=steps, batch=batch, seed=seed, workers=workers, threads=threads)
    return replace(config, repeat_threshold=None, warmup=min(config.warmup, steps // 8), log_every=50)


def train_and_score(name: str, sets: Sequence[Dataset], val: Dataset, config: TrainConfig, size: int) -> SetScores:
    """Scores on `val` after training on the sets, with images of `size` x `size` pixels."""
    net, spec = make_network(config, ())
    spec = replace(spec, size=(size, size))
    net = fit(net, spec, batches(sets, spec, config), config, on_step=log_steps(name, config))
    return score(net, spec, val)
