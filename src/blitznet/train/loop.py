"""A training run from start to end: datasets, network, steps, evaluations, files.

The run folder contains config.json, log.jsonl, tensorboard/, state.safetensors (the resumable state), last.safetensors
and best.safetensors (models), plot.png and predictions/. The same command resumes an interrupted run, and the result
equals that of a run without interruption.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from blitznet.core.errors import UsageError
from blitznet.core.memory import GB
from blitznet.data.image_cache import cache_limit
from blitznet.data.sources import split_sources
from blitznet.train.auto_batch import BatchChoice, resolve_batch
from blitznet.train.callbacks import RunStart, TrainCallback
from blitznet.train.config import AUTO_BATCH, TrainConfig
from blitznet.train.datasets import (
    DataSummary,
    TrainData,
    annotated_classes,
    check_data,
    open_all,
    prepare_data,
    resolve_epochs,
)
from blitznet.train.distributed import ProcessGroup, init_distributed, translate_lost_processes
from blitznet.train.initialize import learned_classes, make_network, provenance, restrict_network, unlearned_notices
from blitznet.train.interrupts import InterruptHandler, TrainingInterrupted
from blitznet.train.keep import KeepTeacher
from blitznet.train.loader import translate_loader_errors
from blitznet.train.run_folder import RunFolder
from blitznet.train.run_log import RunLog, plot_log
from blitznet.train.trainer import Trainer, make_batches, make_trainer
from blitznet.train.validate import validate

Notify = Callable[[str], None]
"""called with each notice for the user"""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run that is ready for its next step."""

    trainer: Trainer
    folder: RunFolder
    data: TrainData
    check: DataSummary
    completed_steps: int
    """steps before this run was resumed"""
    batch_choice: BatchChoice | None = None
    """why --batch auto chose the batch; None if the batch was given"""


def train(
    config: TrainConfig,
    *,
    callbacks: Sequence[TrainCallback] = (),
    notify: Notify | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train a model, or resume the run in the config's folder.

    Args:
        config: All options.
        callbacks: Called after every step, after every evaluation and at the end.
        notify: Called with notices before the first step, and if --patience ends the run.
        stop_after: Stop after this step as if killed, for tests of resuming.

    Returns:
        The trained model, a .safetensors file.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM; the current step was completed and the state saved.
        BlitzNetError: The config, the data or the run folder cannot be used; or another process of the run ended.
    """
    if not config.data:
        raise UsageError("--data: expected at least one training set FORMAT:ROOT@SPLIT, or a recipe, got none")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with init_distributed(config.device) as group, translate_lost_processes(group), translate_loader_errors():
        run = prepare_run(config, group)
        config = run.trainer.config
        if group.is_main_process:
            run.folder.start(config)
            if notify is not None:
                for notice in _notices(run):
                    notify(notice)
        log = RunLog(
            run.folder.path,
            after=run.completed_steps,
            is_main_process=group.is_main_process,
            loggers=config.loggers,
            settings=json.loads(config.to_json()),
        )
        observers = callbacks if group.is_main_process else ()
        for callback in observers:
            callback.on_start(_run_start(run))
        with log, _end_callbacks(observers), InterruptHandler() as interrupts:
            _run_steps(run, log, interrupts, callbacks=observers, notify=notify, stop_after=stop_after)
        group.barrier()
    return run.folder.last


@contextmanager
def _end_callbacks(callbacks: Sequence[TrainCallback]) -> Iterator[None]:
    """Call `on_end` of all callbacks at the end of the block."""
    failed = True
    try:
        yield
        failed = False
    finally:
        for callback in callbacks:
            callback.on_end(failed=failed)


def prepare_run(config: TrainConfig, group: ProcessGroup) -> Run:
    """Open the data, build the network and load the state of an interrupted run; writes nothing."""
    folder = RunFolder(config.out)
    stored_batch = folder.stored_batch()
    if config.batch == AUTO_BATCH and stored_batch is not None:
        config = replace(config, batch=stored_batch)  # the batch of the interrupted run, whatever is free now
    folder.require_resumable(config)
    if config.batch != AUTO_BATCH:
        _require_valid_batch(config, group)
    sources = split_sources(config.resolve_root(config.data), config.resolve_root(config.val))
    training, evaluation = open_all(sources[0]), open_all(sources[1])
    uses_data_classes = config.init == "model" and not config.class_names
    net, spec = make_network(config, annotated_classes(training) if uses_data_classes else config.class_names)
    data = prepare_data(training, evaluation, spec.classes, config)
    check = check_data(training, evaluation, data)
    learned = learned_classes(check.coverage, spec, config)
    net, spec = restrict_network(net, spec, learned, config)
    config, batch_choice = resolve_batch(net, spec, config, group, num_images=data.sampler.images_per_epoch)
    config = resolve_epochs(config, data.sampler)
    spec = replace(spec.uncalibrated(), provenance=provenance(spec, config))
    trainer = make_trainer(net, spec, config, group)
    completed_steps = trainer.load(folder.state) if folder.state.exists() else 0
    group.require_equal(completed_steps, f"{folder.path}: expected the same state in a folder that all processes share")
    return Run(trainer, folder, data, check, completed_steps, batch_choice)


def _run_start(run: Run) -> RunStart:
    trainer, config = run.trainer, run.trainer.config
    return RunStart(
        spec=trainer.spec,
        coverage=run.check.coverage,
        evaluation=[(dataset.title, len(dataset)) for dataset in run.data.evaluation],
        num_steps=config.steps,
        completed_steps=run.completed_steps,
        batch=config.batch,
        images_per_epoch=run.data.sampler.images_per_epoch,
        device=trainer.group.device.type,
    )


def _notices(run: Run) -> Iterator[str]:
    """What the user should know before the first step."""
    for dataset in (*run.data.training, *run.data.evaluation):
        if dataset.unmapped:
            yield f"{dataset.title}: treated as background, not a trained class: {', '.join(dataset.unmapped)}"
    yield from run.check.notices
    yield from unlearned_notices(run.trainer.spec, run.trainer.config.tasks)
    if run.data.num_leaks:
        yield f"{run.data.num_leaks} training images are left out because evaluation sets contain them"
    config = run.trainer.config
    if isinstance(run.trainer.teacher, KeepTeacher):
        old, classes = run.trainer.teacher.classes, run.trainer.spec.classes
        new = ", ".join(classes[len(old) :]) or "none"
        yield f"--keep: {len(old)} classes of {config.model} stay; new classes: {new}"
    if run.batch_choice is not None:
        yield run.batch_choice.notice(config.batch_memory)
    if config.cache != "none":
        limit = cache_limit(config.cache, config.cache_size, folder=config.out)
        yield f"--cache {config.cache}: at most {limit / GB:.2f} GB of decoded images"
    if config.epochs is not None:
        images = round(run.data.sampler.images_per_epoch)
        yield f"--epochs {config.epochs}: {config.steps} steps for {images} images per epoch and --batch {config.batch}"
    if run.completed_steps:
        yield f"{run.folder.path}: resuming after step {run.completed_steps} of {config.steps}"


def _require_valid_batch(config: TrainConfig, group: ProcessGroup) -> None:
    """Raise UsageError if the batch cannot be split evenly, or leaves too few images for batch norms."""
    num_parts = group.world_size * config.accumulate
    if config.batch % num_parts:
        raise UsageError(
            f"--batch {config.batch}: expected a multiple of {group.world_size} processes x {config.accumulate} parts"
        )
    if config.batch == num_parts and not config.freezes_all_bn:
        raise UsageError(
            f"--batch {config.batch}: expected two images or more for each of {group.world_size} processes x "
            f"{config.accumulate} parts, because of the batch norms; increase it, or add --freeze-bn all"
        )


def _run_steps(
    run: Run,
    log: RunLog,
    interrupts: InterruptHandler,
    *,
    callbacks: Sequence[TrainCallback],
    notify: Notify | None,
    stop_after: int | None,
) -> None:
    """Run all remaining steps, or fewer if --patience ends the run."""
    trainer, config, group = run.trainer, run.trainer.config, run.trainer.group
    is_missing = group.is_main_process and not log.has_scores(run.completed_steps)
    if _evaluation_due(run, run.completed_steps) and group.all_reduce_any(is_missing):
        # The run was interrupted before this evaluation, or had no evaluation sets until now.
        _evaluate(run, log, run.completed_steps, interrupts, callbacks)
    ends_early = _patience_exhausted(run, log, run.completed_steps)
    last_step = run.completed_steps if ends_early else config.steps
    loaded = make_batches(
        run.data.training, run.data.sampler, trainer.spec, config, group=group, first=run.completed_steps
    )
    with closing(loaded) as batches:
        for step in range(run.completed_steps + 1, last_step + 1):
            losses, timings = trainer.step(batches, step)
            stopping = group.all_reduce_any(interrupts.requested)
            evaluation_due = _evaluation_due(run, step)
            if group.is_main_process:
                values = _log_names(losses) | timings
                if step % config.log_every == 0 or step == 1:
                    log.on_step(step, config.steps, values)
                for callback in callbacks:
                    callback.on_step(step, config.steps, values)
                if stopping or evaluation_due or step % config.save_every == 0 or step == config.steps:
                    trainer.save(run.folder, step)
            if evaluation_due and not stopping:
                _evaluate(run, log, step, interrupts, callbacks)
            if stopping:
                group.barrier()  # until the state is saved
                raise _interrupted(run, step)
            if step == stop_after:
                break
            if evaluation_due and _patience_exhausted(run, log, step):
                last_step, ends_early = step, True
                break
    if ends_early and notify is not None:
        notify(
            f"stopped after step {last_step} of {config.steps}: --patience {config.patience} evaluations without a "
            "better score"
        )
    if group.is_main_process:
        plot_log(log.path, run.folder.plot)


def _log_names(losses: dict[str, float]) -> dict[str, float]:
    """The losses under their names in the log."""
    return {name if name == "grad_norm" else f"loss/{name}": value for name, value in losses.items()}


def _evaluation_due(run: Run, step: int) -> bool:
    config = run.trainer.config
    due = step == config.steps or (config.eval_every is not None and step % config.eval_every == 0)
    return due and step > 0 and bool(run.data.evaluation)


def _patience_exhausted(run: Run, log: RunLog, step: int) -> bool:
    """Whether --patience ends the run after a step, in all processes; derived from files, so also in a resumed run."""
    config, group = run.trainer.config, run.trainer.group
    if config.patience is None or step == config.steps:
        return False
    best = run.folder.read_best() if group.is_main_process else None
    exhausted = best is not None and best.step is not None and log.num_evaluations_after(best.step) >= config.patience
    return group.all_reduce_any(exhausted)


def _evaluate(
    run: Run, log: RunLog, step: int, interrupts: InterruptHandler, callbacks: Sequence[TrainCallback]
) -> None:
    """Log the scores, save the best model, draw predictions and the plot so far; every process has a part of it."""
    trainer, group = run.trainer, run.trainer.group

    def after_image() -> None:
        if interrupts.requested and group.world_size == 1:  # several processes stop after the next step, all at once
            raise _interrupted(run, step)

    evaluation = validate(
        trainer.final_net, trainer.spec, run.data.evaluation, run.folder, step, group=group, after_image=after_image
    )
    if evaluation is None:
        return
    for callback in (log, *callbacks):
        callback.on_eval(evaluation)
    plot_log(log.path, run.folder.plot)


def _interrupted(run: Run, step: int) -> TrainingInterrupted:
    return TrainingInterrupted(
        f"stopped after step {step} of {run.trainer.config.steps}; "
        f"run the same command to resume from {run.folder.path}"
    )
