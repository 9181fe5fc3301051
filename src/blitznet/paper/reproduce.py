"""A table of the paper made again: its runs trained or reused, their predictions written down and scored.

A run is a folder; what it predicts lies in it as a result file, from which the table is made again in seconds.
"""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from blitznet.data.sources import open_sources
from blitznet.metrics.bootstrap import Difference, Drawn, drawn, over_runs
from blitznet.metrics.evaluate import EvalConfig, evaluate, gather, score
from blitznet.metrics.evidence import EvaluationState
from blitznet.metrics.results import read_results
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.paper.tables import Figure, Plan, Row, Table
from blitznet.runtime.predictor import Predictor
from blitznet.train.config import TrainConfig
from blitznet.train.distributed import init_distributed
from blitznet.train.loop import Tell, train
from blitznet.train.run_folder import RunFolder

Show = Callable[[str, int, int], None]
"""called with what is worked on, how much is done, and of how much"""
Found = Mapping[str, EvaluationState]
"""evidence of one run by the set's name in the table"""

RESULTS = "results.jsonl"
"""in a run's folder: what its last model predicts"""
ROUNDS = 200
"""draws of the images for each interval"""


@dataclass(frozen=True, slots=True)
class Made:
    """A table as it came out: fractions 0..1 for each seed, by row and figure."""

    plan: Plan
    scores: Mapping[tuple[str, str], tuple[float, ...]]
    leads: Mapping[tuple[str, str], Difference]
    """over all seeds, how far the table's own row is ahead of a row in a figure; of AP, in AP50 by the area rule"""


def reproduce(plan: Plan, *, show: Show = lambda *_: None, tell: Tell | None = None) -> Made:
    """Train what is not trained yet, predict, score. Stopped says which run to go on with: the same call does."""
    for seed in range(plan.seeds):
        for row in plan.table.rows:
            finish(plan.config(row, seed), plan.table.sets, partial(show, f"{row.name}, seed {seed}"), tell=tell)
    return scored(plan, show)


def finish(
    config: TrainConfig, sets: tuple[str, ...], show: Callable[[int, int], None], *, tell: Tell | None = None
) -> None:
    """Train to the end and write down what the model predicts for the sets, unless that is done already."""
    folder, results = RunFolder(config.out), config.out / RESULTS
    folder.require_same(config)
    if results.exists() and _was(folder, config):
        return
    results.unlink(missing_ok=True)
    train(config, watch=lambda step, _: show(step, config.steps), tell=tell)
    gc.collect()  # the run's workers end now, before the next run's are forked
    net, spec = load_model(folder.last)
    with init_distributed(config.device) as group:
        predictor = Predictor(TorchEngine(net.to(group.device), spec))
    evaluate(predictor, open_sources(config.sources(sets), spec.classes), EvalConfig(tasks=spec.tasks), results=results)


def _was(folder: RunFolder, config: TrainConfig) -> bool:
    """Whether what lies in the folder is this very run, as long and on the same images."""
    try:
        written = folder.config.read_text()
        before, now = json.loads(written), json.loads(config.to_json())
    except (OSError, json.JSONDecodeError):
        return False
    return not config.conflicts(written) and all(before.get(name) == now[name] for name in ("steps", "root", "val"))


def scored(plan: Plan, show: Show = lambda *_: None) -> Made:
    """The table from the result files of its runs; every image is looked at once for each run."""
    table = plan.table
    scores: dict[tuple[str, str], list[float]] = {}
    leads: dict[tuple[str, str], list[Drawn]] = {}
    for seed in range(plan.seeds):
        found = {row.name: _evidence(plan, row, seed, show) for row in table.rows}
        for row in table.rows:
            for name, value in _scores(table, row, found[row.name]):
                scores.setdefault((row.name, name), []).append(value)
            for name, lead in _leads(table, row, found[row.name], found[table.ours]):
                leads.setdefault((row.name, name), []).append(lead)
    each = {key: tuple(values) for key, values in scores.items()}
    return Made(plan, each, {key: over_runs(runs) for key, runs in leads.items()})


def _evidence(plan: Plan, row: Row, seed: int, show: Show) -> Found:
    """What the predictions of a run and the truth say about each other."""
    config = plan.config(row, seed)
    stored = read_results(config.out / RESULTS)
    sets = open_sources(config.sources(plan.table.sets), stored.class_names)
    watch = partial(show, f"{row.name}, seed {seed}: scores")
    parts = gather(stored.answer, sets, EvalConfig(tasks=stored.tasks), watch=watch)
    return dict(zip(plan.table.sets, parts, strict=True))


def _scores(table: Table, row: Row, found: Found) -> Iterator[tuple[str, float]]:
    """This row's figures by name, those that could be measured."""
    for data, evidence in found.items():
        figures = [figure for figure in table.figures if figure.data == data and row.learns(figure)]
        options = EvalConfig(coco=any(figure.measure.startswith("coco") for figure in figures))
        scores = score(data, evidence, options)
        for figure in figures:
            part = scores.segmentation if figure.task == "segmentation" else scores.detection
            value: float | None = getattr(part, figure.measure)
            if value is not None:
                yield figure.name, value


def _leads(table: Table, row: Row, theirs: Found, mine: Found) -> Iterator[tuple[str, Drawn]]:
    """How far the table's own row is ahead of this one, in every figure that both have."""
    ours = table.row(table.ours)
    if row.name == ours.name:
        return
    for data, evidence in mine.items():
        leads = drawn(theirs[data].statistics, evidence.statistics, evidence.images, ROUNDS)
        for figure in table.figures:
            both = row.learns(figure) and ours.learns(figure)
            if figure.data == data and both and compared(figure) in leads:
                yield figure.name, leads[compared(figure)]


def compared(figure: Figure) -> str:
    """The figure in which rows are held against each other: AP is drawn by the area rule at 0.5."""
    return figure.measure if figure.measure in ("miou", "ap50_pooled") else "ap50_area"
