"""Reproduce a table of the paper: train its runs, store their predictions, score them.

Each run has a folder with a result file, from which the table is computed again within seconds.
"""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from blitznet.core.progress import Progress, no_progress
from blitznet.data.image_check import find_image_problems, require_images
from blitznet.data.sources import open_sources
from blitznet.metrics.bootstrap import Difference, PairedBootstrap, mean_difference, paired_bootstrap
from blitznet.metrics.evaluate import EvalConfig, accumulate, compute_scores, evaluate
from blitznet.metrics.results import read_results
from blitznet.metrics.state import EvaluationState
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.paper.tables import MetricColumn, PaperTable, RunPlan, TableRow
from blitznet.runtime.predictor import Predictor
from blitznet.train.callbacks import ProgressCallback
from blitznet.train.config import TrainConfig
from blitznet.train.datasets import open_all
from blitznet.train.distributed import init_distributed
from blitznet.train.initialize import make_network
from blitznet.train.loop import train
from blitznet.train.run_folder import RunFolder

States = Mapping[str, EvaluationState]
"""evaluation states of one run by the evaluation set's name in the table"""

RESULTS = "results.jsonl"
"""predictions of the last model, in the run's folder"""
ROUNDS = 200
"""bootstrap rounds of each interval"""


@dataclass(frozen=True, slots=True)
class TableResult:
    """A reproduced table."""

    plan: RunPlan
    scores: Mapping[tuple[str, str], tuple[float, ...]]
    """by row and column, fractions 0..1, one for each seed"""
    differences: Mapping[tuple[str, str], Difference]
    """reference row minus this row, by row and column, over all seeds; AP columns compare `ap50_area`"""


def reproduce(
    plan: RunPlan, *, progress: Progress = no_progress, notify: Callable[[str], None] | None = None
) -> TableResult:
    """Train the runs that are not complete, store their predictions, and score them.

    Args:
        plan: The table, folders and seeds.
        progress: Called after every training step and every scored image.
        notify: Called with notices.

    Raises:
        TrainingInterrupted: Ctrl-C or SIGTERM; the same call resumes.
        BlitzNetError: A set or the initial weights of any row cannot be used; raised before the first row trains.
    """
    require_runnable(plan)
    for seed in range(plan.seeds):
        for row in plan.table.rows:
            label = f"{row.name}, seed {seed}"
            train_and_predict(
                plan.config(row, seed), plan.table.eval_sets, label=label, progress=progress, notify=notify
            )
    return score_table(plan, progress)


def require_runnable(plan: RunPlan) -> None:
    """Open the sets of all rows, and load the initial weights of every network: a row may begin days later.

    Raises:
        DataError: A set is missing or broken, or images of it do not exist.
        ModelError: The initial weights are missing or do not fit.
    """
    configs = [plan.config(row, 0) for row in plan.table.rows]
    texts = {text for config in configs for text in (*config.data, *config.val, *plan.table.eval_sets)}
    for item in open_all(configs[0].resolve_root(tuple(sorted(texts)))):
        indices = range(len(item.dataset))
        require_images(find_image_problems(item.dataset, indices), item.source.title, len(indices))
    for config in {(config.model, config.fusion): config for config in configs}.values():
        make_network(config, config.class_names)


def train_and_predict(
    config: TrainConfig,
    eval_sets: tuple[str, ...],
    *,
    label: str = "",
    progress: Progress = no_progress,
    notify: Callable[[str], None] | None = None,
) -> None:
    """Train a run and write its predictions for the evaluation sets, unless both exist already."""
    folder, results = RunFolder(config.out), config.out / RESULTS
    folder.require_resumable(config)
    if results.exists() and _is_same_run(folder, config):
        return
    results.unlink(missing_ok=True)
    train(config, callbacks=[ProgressCallback(progress, label)], notify=notify)
    gc.collect()  # ends the loader processes of this run before those of the next run are forked
    net, spec = load_model(folder.last)
    with init_distributed(config.device) as group:
        predictor = Predictor(TorchEngine(net.to(group.device), spec))
    datasets = open_sources(config.resolve_root(eval_sets), spec.classes)
    evaluate(predictor, datasets, EvalConfig(tasks=spec.tasks), results=results)


def _is_same_run(folder: RunFolder, config: TrainConfig) -> bool:
    """Whether the folder contains this run, with the same steps and images."""
    try:
        stored = folder.config.read_text()
        before, now = json.loads(stored), json.loads(config.to_json())
    except (OSError, json.JSONDecodeError):
        return False
    return not config.conflicts(stored) and all(before.get(name) == now[name] for name in ("steps", "root", "val"))


def score_table(plan: RunPlan, progress: Progress = no_progress) -> TableResult:
    """Compute the table from the result files of its runs."""
    table = plan.table
    scores: dict[tuple[str, str], list[float]] = {}
    pairs: dict[tuple[str, str], list[PairedBootstrap]] = {}
    for seed in range(plan.seeds):
        states = {row.name: _load_states(plan, row, seed, progress) for row in table.rows}
        for row in table.rows:
            for name, value in _row_scores(table, row, states[row.name]):
                scores.setdefault((row.name, name), []).append(value)
            for name, pair in _row_differences(table, row, states[row.name], states[table.reference]):
                pairs.setdefault((row.name, name), []).append(pair)
    return TableResult(
        plan,
        {key: tuple(values) for key, values in scores.items()},
        {key: mean_difference(runs) for key, runs in pairs.items()},
    )


def _load_states(plan: RunPlan, row: TableRow, seed: int, progress: Progress) -> States:
    """Evaluation states of a run from its result file."""
    config = plan.config(row, seed)
    stored = read_results(config.out / RESULTS)
    datasets = open_sources(config.resolve_root(plan.table.eval_sets), stored.class_names)
    label = f"{row.name}, seed {seed}: scores"
    states = accumulate(
        stored.result_for,
        datasets,
        EvalConfig(tasks=stored.tasks),
        progress=lambda _, done, total: progress(label, done, total),
    )
    return dict(zip(plan.table.eval_sets, states, strict=True))


def _row_scores(table: PaperTable, row: TableRow, states: States) -> Iterator[tuple[str, float]]:
    """Column name and score of every column that could be measured for the row."""
    for data, state in states.items():
        columns = [column for column in table.columns if column.data == data and row.has(column)]
        config = EvalConfig(coco=any(column.metric.startswith("coco") for column in columns))
        scores = compute_scores(data, state, config)
        for column in columns:
            task_scores = scores.segmentation if column.task == "segmentation" else scores.detection
            value: float | None = getattr(task_scores, column.metric)
            if value is not None:
                yield column.name, value


def _row_differences(
    table: PaperTable, row: TableRow, states: States, reference_states: States
) -> Iterator[tuple[str, PairedBootstrap]]:
    """Column name and difference, reference row minus this row, of the columns that both rows have."""
    reference = table.row(table.reference)
    if row.name == reference.name:
        return
    for data, state in reference_states.items():
        pairs = paired_bootstrap(states[data], state, ROUNDS)
        for column in table.columns:
            in_both = row.has(column) and reference.has(column)
            if column.data == data and in_both and compared_metric(column) in pairs:
                yield column.name, pairs[compared_metric(column)]


def compared_metric(column: MetricColumn) -> str:
    """The metric in which rows are compared: all kinds of AP are compared as AP50 by the area rule."""
    return column.metric if column.metric in ("miou", "ap50_frequent") else "ap50_area"
