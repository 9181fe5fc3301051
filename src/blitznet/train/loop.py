"""The run, top to bottom: sets, network, steps, evaluations, files.

A run is a folder: config.json, log.jsonl, tensorboard/, state.safetensors (to go on), last.safetensors and
best.safetensors (models), plot.png, pictures/. Resuming needs the folder and the same command.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from blitznet.core.anchors import grids, make_anchors
from blitznet.core.errors import UsageError
from blitznet.core.spec import Spec
from blitznet.data.augment import BLITZNET, LIGHT, PLAIN, SSD, Policy
from blitznet.data.leaks import refuse_leaks
from blitznet.data.mapping import MappedDataset
from blitznet.data.sources import open_dataset, open_sources, parse_source
from blitznet.data.statistics import class_presence
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.files import save_model
from blitznet.train.batch import Batch
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import Group, join
from blitznet.train.ema import Average
from blitznet.train.loader import Augmented, make_loader
from blitznet.train.log import RunLog, plot_log
from blitznet.train.optimizer import make_optimizer, set_rate
from blitznet.train.schedule import ema_decay, learning_rate
from blitznet.train.start import make_network
from blitznet.train.state import load_state, save_state
from blitznet.train.step import update
from blitznet.train.stream import Stream, entries_of, repeat_factors
from blitznet.train.validate import validate

POLICIES: dict[str, Policy] = {"ssd": SSD, "blitznet": BLITZNET, "light": LIGHT, "plain": PLAIN}

Watch = Callable[[int, dict[str, float]], None]
"""called after every step with its number and losses"""


def train(config: TrainConfig, *, watch: Watch | None = None, stop_after: int | None = None) -> Path:
    """Train as told and give the path of the model; goes on where the run folder left off.

    `stop_after` ends the run early, as if killed after that step: for tests of resuming.
    """
    if not config.data:
        raise UsageError("nothing to learn from: give --data FORMAT:ROOT@SPLIT, or a recipe (`blitznet recipes`)")
    if config.threads:
        torch.set_num_threads(config.threads)
    with join(config.device) as group:
        return _run(config, group, watch, stop_after)


def _run(config: TrainConfig, group: Group, watch: Watch | None, stop_after: int | None) -> Path:
    net, spec = make_network(config, _classes(config))
    datasets = open_sources(config.sources(config.data), spec.classes)
    evaluation = open_sources(config.sources(config.val), spec.classes)
    if not config.allow_leaks:
        refuse_leaks(datasets, evaluation)
    net = net.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
    average = Average(net) if config.ema else None
    optimizer = make_optimizer(net, config)
    config.out.mkdir(parents=True, exist_ok=True)
    state = config.out / "state.safetensors"
    done = load_state(state, net=net, optimizer=optimizer, average=average) if state.exists() else 0
    kept: BlitzNet = average.net if average is not None else net
    learner = _prepared(net, config, group)
    anchors = torch.from_numpy(make_anchors(spec.anchors, grids(spec.anchors, spec.size)).copy()).to(group.device)
    batches = _batches(config, spec, datasets, group, first=done)
    if group.leads:
        (config.out / "config.json").write_text(config.to_json() + "\n")
    with RunLog(config.out, after=done, leads=group.leads) as log:
        for step in range(done + 1, config.steps + 1):
            begun = time.perf_counter()
            rate = learning_rate(config, step)
            set_rate(optimizer, rate)
            parts = [batch.to(group.device) for batch in islice(batches, config.accumulate)]
            waited = time.perf_counter() - begun
            found = update(learner, parts, optimizer, anchors=anchors, spec=spec, config=config, group=group)
            if average is not None:
                average.update(net, ema_decay(config, step))
            if group.leads:
                if step % config.log_every == 0 or step == 1:
                    seconds = time.perf_counter() - begun
                    losses = {f"loss/{name}": value for name, value in found.items()}
                    log.write(step, **losses, rate=rate, photos_per_second=config.batch / seconds, waited=waited)
                if watch is not None:
                    watch(step, found)
                if step % config.save_every == 0 or step == config.steps:
                    save_state(state, step, net=net, optimizer=optimizer, average=average)
                    save_model(config.out / "last.safetensors", kept, spec)
                if evaluation and (step == config.steps or (config.eval_every and step % config.eval_every == 0)):
                    log.write(step, **validate(kept, spec, evaluation, config.out, step))
            group.wait()
            if step == stop_after:
                break
        if group.leads:
            plot_log(log.path, config.out / "plot.png")
    return config.out / "last.safetensors"


def _classes(config: TrainConfig) -> tuple[str, ...]:
    """What is learned: told, or the data's own when a model goes on with them, or the named model's."""
    if config.classes or config.start != "model":
        return config.classes
    names: dict[str, None] = {}
    for text in config.sources(config.data):
        source = parse_source(text)
        names |= dict.fromkeys(source.classes or open_dataset(source).names)
    return tuple(names)


def _prepared(net: BlitzNet, config: TrainConfig, group: Group) -> nn.Module:
    """The network in training mode, as this run executes it."""
    net.train()
    if config.freeze_statistics:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    learner: nn.Module = net
    if group.world > 1:
        if group.device.type == "cuda" and not config.freeze_statistics:
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        learner = DistributedDataParallel(learner, broadcast_buffers=False)
    return torch.compile(learner) if config.compile else learner  # type: ignore[return-value] # a module


def _batches(
    config: TrainConfig, spec: Spec, datasets: list[MappedDataset], group: Group, *, first: int
) -> Iterator[Batch]:
    """This process's parts of the batches from number `first` on."""
    entries = entries_of(datasets, config.holdout)
    if not len(entries):
        raise UsageError("the training sets hold no photo")
    weights = np.array([parse_source(text).weight for text in config.sources(config.data)])
    shares = weights[entries[:, 0]]
    if config.repeat:
        shares = shares * _repeats(datasets, entries, config.repeat)
    stride = spec.network.segmentation_stride
    map_size = (-(-spec.size[0] // stride), -(-spec.size[1] // stride))
    return make_loader(
        Augmented(datasets, POLICIES[config.policy], size=spec.size, map_size=map_size),
        Stream(entries, shares, config.seed),
        batch=config.batch,
        first=first,
        rank=group.rank,
        world=group.world,
        accumulate=config.accumulate,
        workers=config.workers,
    )


def _repeats(datasets: list[MappedDataset], entries: NDArray[np.int64], threshold: float) -> NDArray[np.float64]:
    """(N,) repeat factors of the entries, photos with and without a mask counted apart."""
    firsts = np.cumsum([0, *(len(dataset) for dataset in datasets)])
    presence = np.concatenate([class_presence(dataset) for dataset in datasets])[firsts[entries[:, 0]] + entries[:, 1]]
    masked = np.array([datasets[number][index].mask is not None for number, index in entries])
    factors = np.ones(len(entries))
    for group in (masked, ~masked):
        if group.any():
            factors[group] = repeat_factors(presence[group], threshold)
    return factors
