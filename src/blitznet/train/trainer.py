"""Trainer: the network, optimizer and EMA of a run, and one step with them.

`fit` trains in memory; loop.py adds the run folder, the log, evaluation and resuming.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.sample import Dataset
from blitznet.core.spec import Spec
from blitznet.data.augment import POLICIES
from blitznet.data.image_cache import cache_images, cache_limit
from blitznet.data.mixing import MixPolicy, make_mix_pool
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.lite_fpn import FeaturePyramid
from blitznet.nets.model_files import save_model
from blitznet.train.batch import Batch
from blitznet.train.checkpoint import load_state, save_state
from blitznet.train.config import TrainConfig
from blitznet.train.distillation import DistillationTeacher
from blitznet.train.distributed import ProcessGroup, init_distributed
from blitznet.train.ema import ModelEma
from blitznet.train.initialize import make_teacher
from blitznet.train.loader import AugmentedDataset, Batches, make_loader
from blitznet.train.memory import reuse_freed_memory
from blitznet.train.optimizer import (
    freeze,
    frozen_encoder_stages,
    frozen_modules,
    is_inside,
    make_optimizer,
    require_modules,
    set_learning_rate,
)
from blitznet.train.run_folder import RunFolder
from blitznet.train.sampler import EpochSampler
from blitznet.train.schedule import ema_decay, learning_rate
from blitznet.train.step import update

_BUFFER_OPTIONS = [
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
]
_KEEP_BUFFERS: dict[str, Any] = {_BUFFER_OPTIONS[0]: False}
"""option by which every process has its own statistics of batch norms; torch renamed it in 2.13"""


@dataclass(frozen=True, slots=True, eq=False)
class Trainer:
    """Everything that one step needs; made by `make_trainer`."""

    config: TrainConfig
    group: ProcessGroup
    spec: Spec
    net: BlitzNet
    """the network that is trained"""
    model: nn.Module
    """the network as it is executed: wrapped for several processes, compiled"""
    ema: ModelEma | None
    optimizer: torch.optim.Optimizer
    anchors: Tensor
    """(A, 4) cx cy w h, fractions of the image"""
    teacher: DistillationTeacher | None
    """computes the targets of distillation"""

    @property
    def final_net(self) -> nn.Module:
        """The network to evaluate and save: the EMA if there is one."""
        return self.net if self.ema is None else self.ema.net

    def load(self, path: Path) -> int:
        """Load a saved state; returns its step."""
        return load_state(path, net=self.net, optimizer=self.optimizer, ema=self.ema)

    def save(self, folder: RunFolder, step: int) -> None:
        """Save the model, then the state; a run that is killed in between saves the model again."""
        save_model(folder.last, self.final_net, self.spec)
        save_state(folder.state, step, net=self.net, optimizer=self.optimizer, ema=self.ema)

    def step(self, batches: Iterator[Batch], step: int) -> tuple[dict[str, float], dict[str, float]]:
        """Train on the next `accumulate` batches and update the EMA.

        Returns:
            The losses by name, and lr, images_per_second and data_time (seconds spent waiting for data).
        """
        config, start = self.config, time.perf_counter()
        lr = learning_rate(config, step)
        set_learning_rate(self.optimizer, lr)
        parts = [batch.to(self.group.device) for batch in islice(batches, config.accumulate)]
        data_time = time.perf_counter() - start
        losses = update(
            self.model,
            parts,
            self.optimizer,
            anchors=self.anchors,
            spec=self.spec,
            config=config,
            group=self.group,
            teacher=self._teacher_of(step),
        )
        if self.ema is not None and config.ema is not None:
            self.ema.update(self.net, ema_decay(config.ema, step))
        images_per_second = config.batch / (time.perf_counter() - start)
        return losses, {"lr": lr, "images_per_second": images_per_second, "data_time": data_time}

    def _teacher_of(self, step: int) -> DistillationTeacher | None:
        """The teacher, in the steps that distill it; that of --keep teaches in every step."""
        return self.teacher if self.config.keep or step % self.config.distillation_every == 0 else None


def make_trainer(net: BlitzNet, spec: Spec, config: TrainConfig, group: ProcessGroup) -> Trainer:
    """Move the network to its device in training mode, and make the optimizer and the EMA."""
    if group.device.type == "cpu":
        reuse_freed_memory()
    net = net.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
    freeze(net, config)
    ema = ModelEma(net) if config.ema is not None else None
    optimizer = make_optimizer(net, config)
    model = wrap_model(net, config, group)
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy()
    teacher = make_teacher(spec, config, group.device)
    return Trainer(config, group, spec, net, model, ema, optimizer, torch.from_numpy(anchors).to(group.device), teacher)


def wrap_model(net: BlitzNet, config: TrainConfig, group: ProcessGroup) -> nn.Module:
    """The network in training mode, with frozen batch norms, wrapped for several processes and compiled."""
    net.train()
    require_modules(net, "--freeze-bn", set(config.freeze_bn) - {"all"})
    frozen = (*frozen_modules(net, config), *config.freeze_bn)
    in_frozen_stages = {id(layer) for stage in frozen_encoder_stages(net, config) for layer in stage.modules()}
    for name, layer in net.named_modules():
        is_frozen = config.freezes_all_bn or is_inside(name, frozen) or id(layer) in in_frozen_stages
        if is_frozen and isinstance(layer, _BatchNorm):
            layer.eval()
    model: nn.Module = net
    if group.world_size > 1:
        if group.device.type == "cuda" and not config.freezes_all_bn:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        # The class map alone does not read the coarsest maps of a feature pyramid: their blocks have no gradient.
        has_unused = net.detection is None and isinstance(net.upscale, FeaturePyramid)
        model = DistributedDataParallel(model, find_unused_parameters=has_unused, **_KEEP_BUFFERS)
    return torch.compile(model) if config.compile else model  # type: ignore[return-value] # a module


def make_batches(
    datasets: Sequence[Dataset],
    sampler: EpochSampler,
    spec: Spec,
    config: TrainConfig,
    *,
    group: ProcessGroup | None = None,
    first: int = 0,
) -> Batches:
    """This process's parts of endless augmented batches.

    Args:
        datasets: Training sets with the spec's classes.
        sampler: The order of their images.
        spec: Has the input size and the stride of the class map.
        config: Has batch, accumulate, workers, cache and the augmentation.
        group: The processes; one by default.
        first: Number of the first batch, counted from 0.
    """
    world_size = 1 if group is None else group.world_size
    limit = cache_limit(config.cache, config.cache_size, folder=config.out, num_processes=world_size)
    cached = cache_images(datasets, config.cache, limit, folder=config.out)
    return make_loader(
        augmented(cached, spec, config, sampler),
        sampler,
        batch=config.batch,
        first=first,
        rank=0 if group is None else group.rank,
        world_size=world_size,
        accumulate=config.accumulate,
        workers=config.workers,
    )


def augmented(
    datasets: Sequence[Dataset], spec: Spec, config: TrainConfig, sampler: EpochSampler | None = None
) -> AugmentedDataset:
    """The samples of datasets, augmented as the config says, for the spec's network.

    Args:
        datasets: Training sets with the spec's classes.
        spec: Has the input size and the stride of the class map.
        config: Has the policy, and the probabilities of mosaic and copy-paste.
        sampler: Lists the images that may be mixed; without it none are.
    """
    stride = spec.network.segmentation_stride
    map_size, soft_size = (
        (-(-spec.size[0] // value), -(-spec.size[1] // value)) for value in (config.mask_stride or stride, stride)
    )
    pool = None
    if sampler is not None and (config.mosaic > 0 or config.copy_paste > 0):
        pool = make_mix_pool(datasets, sampler.entries, sampler.frequencies)
    return AugmentedDataset(
        datasets,
        POLICIES[config.policy],
        size=spec.size,
        map_size=map_size,
        soft_size=soft_size,
        mix_policy=MixPolicy(config.mosaic, config.copy_paste),
        pool=pool,
    )


def fit(
    net: BlitzNet,
    spec: Spec,
    batches: Iterator[Batch],
    config: TrainConfig,
    *,
    on_step: Callable[[int, dict[str, float]], bool | None] = lambda *_: None,
) -> BlitzNet:
    """Train a network in memory for `config.steps` steps, without run folder, log and evaluation.

    Args:
        net: The network; it is changed.
        spec: Its spec.
        batches: Training batches, such as from `make_batches`.
        config: Options of the training.
        on_step: Called after each step with its number and losses; True stops the training.

    Returns:
        The network of the EMA if the config has one, else the network itself.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with init_distributed(config.device) as group:
        trainer = make_trainer(net, spec, config, group)
        for step in range(1, config.steps + 1):
            losses, _ = trainer.step(batches, step)
            if on_step(step, losses):
                break
    final = trainer.final_net
    assert isinstance(final, BlitzNet), "a copy of the network"
    return final
