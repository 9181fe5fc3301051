"""The run, top to bottom: sets, network, steps, evaluations, files.

A run is a folder: config.json, log.jsonl, tensorboard/, state.safetensors (to go on), last.safetensors and
best.safetensors (models), plot.png, pictures/. Resuming needs the folder and the same command; a run that was
killed at any moment ends as if it had not been.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.errors import UsageError
from blitznet.core.spec import Spec
from blitznet.data.augment import BLITZNET, LIGHT, PLAIN, SSD, STRONG, Policy
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.model_files import save_model
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from blitznet.train.batch import Batch
from blitznet.train.checkpoint import load_state, save_state
from blitznet.train.config import TrainConfig
from blitznet.train.datasets import Sets, map_sets, open_all, own_classes
from blitznet.train.distributed import Group, init_distributed
from blitznet.train.ema import ModelEma
from blitznet.train.initialize import make_network, provenance
from blitznet.train.interrupts import Interrupts, Stopped
from blitznet.train.loader import Augmented, make_loader
from blitznet.train.optimizer import freeze, make_optimizer, pretrained_parts, set_rate, still_parts
from blitznet.train.run_folder import RunFolder
from blitznet.train.run_log import RunLog, plot_log
from blitznet.train.schedule import ema_decay, learning_rate
from blitznet.train.step import update
from blitznet.train.validate import validate

POLICIES: dict[str, Policy] = {"ssd": SSD, "blitznet": BLITZNET, "light": LIGHT, "strong": STRONG, "plain": PLAIN}

Watch = Callable[[int, dict[str, float]], None]
"""called after every step with its number and losses"""
Tell = Callable[[str], None]
"""called with a line that the user should know before the first step"""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Everything that a run has once it is prepared."""

    config: TrainConfig
    group: Group
    folder: RunFolder
    sets: Sets
    spec: Spec
    net: BlitzNet
    """what learns"""
    learner: nn.Module
    """the same as it is executed: compiled, shared among processes"""
    average: ModelEma | None
    optimizer: torch.optim.Optimizer
    anchors: Tensor
    """(A, 4)"""
    done: int
    """steps that were done before"""
    teacher: SSDLiteTeacher | None = None

    @property
    def kept(self) -> nn.Module:
        """What is evaluated and kept: the average where there is one."""
        return self.net if self.average is None else self.average.net


def train(
    config: TrainConfig, *, watch: Watch | None = None, tell: Tell | None = None, stop_after: int | None = None
) -> Path:
    """Train as told and give the path of the model; goes on where the run folder left off.

    `stop_after` ends the run early, as if killed after that step: for tests of resuming. Ctrl-C and SIGTERM end it
    after the step that is under way, with a state to go on from, and raise Stopped.
    """
    if not config.data:
        raise UsageError("nothing to learn from: give --data FORMAT:ROOT@SPLIT, or a recipe (`blitznet recipes`)")
    if config.threads:
        torch.set_num_threads(config.threads)
    with init_distributed(config.device) as group:
        run = prepare(config, group)
        if group.is_main_process:
            run.folder.begin(config)
            if tell is not None:
                for line in _notes(run):
                    tell(line)
        told = {"reporters": config.report, "settings": json.loads(config.to_json())}
        with (
            RunLog(run.folder.path, after=run.done, leads=group.is_main_process, **told) as log,
            Interrupts() as interrupts,
        ):
            _go(run, log, interrupts, watch=watch, stop_after=stop_after)
        group.barrier()
    return run.folder.last


def prepare(config: TrainConfig, group: Group) -> Run:
    """Everything before the first step; nothing is written yet."""
    folder = RunFolder(config.out)
    folder.require_same(config)
    _require_fit(config, group)
    training, evaluation = open_all(config.sources(config.data)), open_all(config.sources(config.val))
    fine_tuned = config.start == "model" and not config.classes
    net, spec = make_network(config, own_classes(training) if fine_tuned else config.classes)
    spec = replace(spec.uncalibrated(), provenance=provenance(spec, config))
    sets = map_sets(training, evaluation, spec.classes, config)
    net = net.to(group.device, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's stub lacks it
    freeze(net, config)
    average = ModelEma(net) if config.ema else None
    optimizer = make_optimizer(net, config)
    done = 0
    if folder.state.exists():
        done = load_state(folder.state, net=net, optimizer=optimizer, average=average)
    learner = _executed(net, config, group)
    anchors = torch.from_numpy(generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size)).copy()).to(
        group.device
    )
    teacher = SSDLiteTeacher(spec).to(group.device) if config.distillation else None
    return Run(config, group, folder, sets, spec, net, learner, average, optimizer, anchors, done, teacher)


def _notes(run: Run) -> Iterator[str]:
    """What the user should know before the first step."""
    for dataset in (*run.sets.training, *run.sets.evaluation):
        if dataset.unmapped:
            yield f"{dataset.title}: {', '.join(dataset.unmapped)}: none of the classes learned, so background"
    if run.sets.left_out:
        yield f"{run.sets.left_out} training images are in the evaluation sets too and are left out"
    if run.done:
        yield f"{run.folder.path}: going on after step {run.done} of {run.config.steps}"


def _require_fit(config: TrainConfig, group: Group) -> None:
    """Whether the batch can be dealt to the processes and passes, and is enough for batch statistics in each."""
    parts = group.world * config.accumulate
    if config.batch % parts:
        raise UsageError(
            f"--batch {config.batch} cannot be dealt to {group.world} processes x {config.accumulate} parts evenly"
        )
    if config.batch == parts and not config.freeze_statistics:
        raise UsageError(
            f"--batch {config.batch} leaves one image to each of {group.world} processes x {config.accumulate} parts, "
            "too few for batch norms to measure; give a larger --batch, or --freeze-statistics"
        )


def _executed(net: BlitzNet, config: TrainConfig, group: Group) -> nn.Module:
    """The network in training mode, as this run executes it."""
    net.train()
    for module in (module for part in _still(net, config) for module in part.modules()):
        if isinstance(module, _BatchNorm):
            module.eval()
    learner: nn.Module = net
    if group.world > 1:
        if group.device.type == "cuda" and not config.freeze_statistics:
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)  # type: ignore[no-untyped-call]
        learner = DistributedDataParallel(learner, broadcast_buffers=False)
    return torch.compile(learner) if config.compile else learner  # type: ignore[return-value] # a module


def _still(net: BlitzNet, config: TrainConfig) -> Iterator[nn.Module]:
    """The parts whose batch norms keep their statistics."""
    if config.freeze_statistics:
        yield net
        return
    kept = still_parts(net, config) | set(pretrained_parts(config) if config.ssdlite else ())
    yield from (part for name, part in net.named_children() if name in kept)


def _go(run: Run, log: RunLog, interrupts: Interrupts, *, watch: Watch | None, stop_after: int | None) -> None:
    """All steps that are left."""
    config, leads = run.config, run.group.is_main_process
    if leads and _evaluation_due(run, run.done) and not log.scored(run.done):
        _evaluate(run, log, run.done, interrupts)  # what it was killed at, or was not asked for then
    batches = _batches(run)
    for step in range(run.done + 1, config.steps + 1):
        found, times = _advance(run, batches, step)
        asked = run.group.all_reduce_any(interrupts.asked)
        if leads:
            if step % config.log_every == 0 or step == 1:
                log.write(step, **_named(found), **times)
            if watch is not None:
                watch(step, found)
            evaluation_due = _evaluation_due(run, step)
            if asked or evaluation_due or step % config.save_every == 0 or step == config.steps:
                _save(run, step)
            if evaluation_due and not asked:
                _evaluate(run, log, step, interrupts)
        if asked:
            run.group.barrier()  # for the state to be saved
            raise _stopped(run, step)
        if step == stop_after:
            break
    if leads:
        plot_log(log.path, run.folder.plot)


def _advance(run: Run, batches: Iterator[Batch], step: int) -> tuple[dict[str, float], dict[str, float]]:
    """One update of weights and average; gives the losses, and the rate and speed."""
    config, begun = run.config, time.perf_counter()
    rate = learning_rate(config, step)
    set_rate(run.optimizer, rate)
    parts = [batch.to(run.group.device) for batch in islice(batches, config.accumulate)]
    waited = time.perf_counter() - begun
    found = update(
        run.learner,
        parts,
        run.optimizer,
        anchors=run.anchors,
        spec=run.spec,
        config=config,
        group=run.group,
        teacher=run.teacher,
    )
    if run.average is not None:
        run.average.update(run.net, ema_decay(config, step))
    speed = config.batch / (time.perf_counter() - begun)
    return found, {"rate": rate, "images_per_second": speed, "waited": waited}


def _named(found: dict[str, float]) -> dict[str, float]:
    """The losses as the log groups them."""
    return {name if name == "gradient" else f"loss/{name}": value for name, value in found.items()}


def _evaluation_due(run: Run, step: int) -> bool:
    every = run.config.eval_every
    due = step == run.config.steps or (every > 0 and step % every == 0)
    return due and step > 0 and bool(run.sets.evaluation)


def _evaluate(run: Run, log: RunLog, step: int, interrupts: Interrupts) -> None:
    """Scores into the log, the best model, pictures, and the plot so far."""

    def between_images() -> None:
        if interrupts.asked:
            raise _stopped(run, step)

    scores = validate(run.kept, run.spec, run.sets.evaluation, run.folder, step, between=between_images)
    log.write(step, **scores)
    plot_log(log.path, run.folder.plot)


def _stopped(run: Run, step: int) -> Stopped:
    return Stopped(f"stopped after step {step} of {run.config.steps}; the same command goes on from {run.folder.path}")


def _save(run: Run, step: int) -> None:
    """The model, then the state: a run killed between the two makes the model again."""
    save_model(run.folder.last, run.kept, run.spec)
    save_state(run.folder.state, step, net=run.net, optimizer=run.optimizer, average=run.average)


def _batches(run: Run) -> Iterator[Batch]:
    """This process's parts of the batches that are left."""
    config, spec = run.config, run.spec
    stride = spec.network.segmentation_stride
    map_size = (-(-spec.size[0] // stride), -(-spec.size[1] // stride))
    return make_loader(
        Augmented(run.sets.training, POLICIES[config.policy], size=spec.size, map_size=map_size),
        run.sets.stream,
        batch=config.batch,
        first=run.done,
        rank=run.group.rank,
        world=run.group.world,
        accumulate=config.accumulate,
        workers=config.workers,
    )
