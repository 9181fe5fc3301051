"""`blitznet eval`: the scores of a model or of a result file, one table for all sets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.cli.console import bars, stdout
from blitznet.cli.engines import EngineFlag, ThreadsFlag, ran
from blitznet.cli.files import prepare_files, write_json
from blitznet.cli.flags import metavar, read_tiles
from blitznet.cli.sets import open_sets
from blitznet.core.errors import UsageError
from blitznet.core.files import translate_write_errors
from blitznet.core.models import DEFAULT
from blitznet.core.spec import ALL_TASKS
from blitznet.metrics.evaluate import DEFAULTS, EvalConfig

if TYPE_CHECKING:
    from rich.table import Table

    from blitznet.metrics.bootstrap import Difference
    from blitznet.metrics.report import Scores
    from blitznet.report.eval_page import Scored

ROUNDS = 200
"""draws for the intervals of a comparison, unless told"""


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Score a model, or predictions written down before, on data sets: each by itself and all as one.

    Average precision of boxes as VOC's development kit counts it, mean IoU of class maps at full resolution.
    """

    model: Annotated[str | None, tyro.conf.Positional, metavar("[MODEL]")] = None
    """Name of a model of the package, an .onnx or .openvino file, a .pt2 or .safetensors file or run folder (needs the
    extra `train`), or a .jsonl file that --results wrote, which is scored without a model. Not given:
    blitznet300-lite."""
    data: Annotated[tuple[str, ...], metavar("SET [SET ...]")]
    """Sets to score on, FORMAT:ROOT@SPLIT,option=value+value."""
    json: Annotated[Path | None, metavar("FILE")] = None
    """File for the scores as JSON."""
    results: Annotated[Path | None, metavar("FILE.jsonl")] = None
    """File to write the predictions to, to be scored again or compared."""
    report: Annotated[Path | None, metavar("DIR")] = None
    """Folder for a page that shows the errors: curves, confusions, kinds of error, the worst images."""
    compare: Annotated[tuple[Path, Path] | None, metavar("A B")] = None
    """Instead of scoring a model: how far result file B is ahead of A, the same images drawn for both."""
    per_class: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the scores of every class too."""
    engine: EngineFlag = "auto"
    """What computes: onnxruntime, openvino, torch, torch-compiled, onnxruntime-cuda or onnxruntime-tensorrt.
    Not given: the fastest that is installed."""
    threads: ThreadsFlag = None
    """Threads of computing. Not given: one for each processor."""
    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Look at each image twice, also left to right."""
    tiles: Annotated[str, metavar("RxC")] = ""
    """Look at rows x columns of overlapping tiles of each image as well: for large images with small things."""
    scoring: tyro.conf.OmitArgPrefixes[tyro.conf.FlagCreatePairsOff[EvalConfig]] = DEFAULTS


def run(options: Eval) -> int:
    """Score, or compare two result files."""
    page = None if options.report is None else options.report / "index.html"
    prepare_files(options.json, options.results, page)
    unknown = set(options.scoring.tasks) - set(ALL_TASKS)
    if unknown:
        raise UsageError(f"--tasks: expected some of {', '.join(ALL_TASKS)}, got {', '.join(sorted(unknown))}")
    if options.compare is not None:
        return _compare(options, *options.compare)
    stored = options.model is not None and options.model.endswith(".jsonl")
    scored = _score_file(options) if stored else _score_model(options)
    if options.json is not None:
        write_json(options.json, scored.report.to_dict())
    table, classes = scored.report.table(), _class_table(scored.report.total)
    console = stdout()
    console.print(table)
    if options.per_class:
        console.print(classes)
    if page is not None:
        _write_page(page, options.model or DEFAULT, scored, [table, classes])
    if scored.engine:
        print(scored.engine)
    return 0


def _write_page(path: Path, title: str, scored: "Scored", tables: "Sequence[Table]") -> None:
    from blitznet.report.eval_page import write_page

    with bars() as show:
        write_page(path, title, scored, tables, partial(show, "pictures"))
    print(f"page: {path}")


def _score_model(options: Eval) -> "Scored":
    from blitznet.api import load
    from blitznet.metrics.evaluate import asking, look, report
    from blitznet.report.eval_page import Scored

    predictor = load(
        options.model or DEFAULT,
        engine=options.engine,
        threads=options.threads,
        flip=options.flip,
        tiles=read_tiles(options.tiles),
    )
    datasets = open_sets(options.data, predictor.spec.classes)
    scoring = _scoring(options.scoring, predictor.spec.tasks)
    predict = partial(predictor, class_map="segmentation" in scoring.tasks)
    with bars() as show, translate_write_errors(options.results or Path()):
        evidence = look(predict, datasets, scoring, results=options.results, watch=partial(show, "images"))
    return Scored(
        report=report([dataset.title for dataset in datasets], evidence, scoring),
        evidence=evidence,
        datasets=datasets,
        answer=asking(predict),
        engine=ran(predictor, options.threads),
    )


def _score_file(options: Eval) -> "Scored":
    from blitznet.metrics.evaluate import gather, report
    from blitznet.metrics.results import read_results
    from blitznet.report.eval_page import Scored

    if options.results is not None:
        raise UsageError("--results: expected a model to write the predictions of, got a result file; leave it out")
    stored = read_results(Path(options.model or ""))
    datasets = open_sets(options.data, stored.class_names)
    scoring = _scoring(options.scoring, stored.tasks)
    with bars() as show:
        evidence = gather(stored.answer, datasets, scoring, watch=partial(show, "images"))
    return Scored(
        report=report([dataset.title for dataset in datasets], evidence, scoring),
        evidence=evidence,
        datasets=datasets,
        answer=stored.answer,
    )


def _scoring(scoring: EvalConfig, able: Sequence[str]) -> EvalConfig:
    """The options with those of their tasks that the predictor has."""
    tasks = tuple(task for task in able if task in scoring.tasks)
    if not tasks:
        asked = " and ".join(scoring.tasks) or "nothing"
        raise UsageError(f"--tasks: the predictions are of {' and '.join(able)}, asked was {asked}")
    return replace(scoring, tasks=tasks)


def _compare(options: Eval, first: Path, second: Path) -> int:
    from blitznet.metrics.evaluate import compare
    from blitznet.metrics.results import read_results

    if options.model is not None or options.results is not None or options.report is not None:
        raise UsageError("--compare: expected two result files only; leave out MODEL, --results and --report")
    datasets = open_sets(options.data, read_results(first).class_names)
    rounds = options.scoring.bootstrap or ROUNDS
    found = compare(first, second, datasets, options.scoring, rounds=rounds)
    if options.json is not None:
        write_json(options.json, {name: difference.to_dict() for name, difference in found.items()})
    stdout().print(_difference_table(found, first, second))
    return 0


def _difference_table(found: "dict[str, Difference]", first: Path, second: Path) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(caption="percent; all sets as one")
    table.add_column("figure")
    for title in (str(first), str(second), "ahead by", "95 % interval"):
        table.add_column(Text(title), justify="right", overflow="fold")
    for name, one in found.items():
        low, high = one.interval
        values = (f"{100 * one.first:.1f}", f"{100 * one.second:.1f}", f"{100 * one.difference:+.1f}")
        table.add_row(name, *values, f"{100 * low:+.1f} to {100 * high:+.1f}")
    return table


def _class_table(scores: "Scores") -> "Table":
    """A row for each class that occurs, background first where class maps were scored."""
    from rich.table import Table
    from rich.text import Text

    found, painted = scores.detection.per_class, scores.segmentation.per_class
    table = Table(caption=f"percent; {scores.title}")
    table.add_column("class")
    for title in ("objects", "AP50 area", "images with it painted", "IoU"):
        table.add_column(title, justify="right")
    for name in dict.fromkeys((*painted, *found)):
        pairs = (found.get(name), painted.get(name))
        cells = [(str(one.count), f"{100 * one.score:.1f}") if one else ("-", "-") for one in pairs]
        table.add_row(Text(name), *cells[0], *cells[1])
    return table
