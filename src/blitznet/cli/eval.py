"""`blitznet eval`: scores of a model or of a result file on datasets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from blitznet.cli.console import progress_bars, stdout_console
from blitznet.cli.datasets import open_datasets
from blitznet.cli.engines import EngineFlag, ThreadsFlag, TrustFlag, engine_summary
from blitznet.cli.files import prepare_files, write_json
from blitznet.cli.flags import OverwriteFlag, metavar, parse_grid
from blitznet.core.errors import UsageError
from blitznet.core.models import DEFAULT
from blitznet.core.spec import ALL_TASKS
from blitznet.core.written_files import record_written
from blitznet.metrics.evaluate import DEFAULTS, EvalConfig

if TYPE_CHECKING:
    from blitznet.core.sample import Dataset, Sample
    from blitznet.metrics.evaluate import SamplePredictor
    from blitznet.postprocess.result import Result
    from blitznet.report.eval_page import Evaluation

COMPARE_ROUNDS = 200
"""default number of bootstrap rounds of a comparison"""


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Evaluate a model, or a result file, on datasets: on each of them, and on all together.

    Computes the average precision of boxes by the rules of the VOC devkit, and the mean IoU of class maps at the
    original image size.

    Examples:
        blitznet eval --data voc:VOC2012@val
        blitznet eval runs/mine --data coco:data@val --coco --bootstrap 200 --html-report report
        blitznet eval --data voc:VOC2012@val --results a.jsonl
        blitznet eval --compare a.jsonl b.jsonl --data voc:VOC2012@val
    """

    model: Annotated[str | None, tyro.conf.Positional, metavar("[MODEL]")] = None
    """Name of a model in the package, an .onnx or .openvino file, a .pt2 or .safetensors file or run folder (needs the
    extra `train`), or a .jsonl file of --results, which needs no model. Default: blitznet300-lite."""
    data: Annotated[tuple[str, ...], metavar("DATASET [DATASET ...]")]
    """Evaluate on these datasets, FORMAT:ROOT@SPLIT,option=value+value, or paths whose format is recognized."""
    json: Annotated[Path | None, metavar("FILE")] = None
    """Write the scores to this JSON file. Default: print the table only."""
    results: Annotated[Path | None, metavar("FILE.jsonl")] = None
    """Store the predictions in this file, for another evaluation or a comparison. Default: do not store them."""
    html_report: Annotated[Path | None, metavar("DIR")] = None
    """Write an HTML page to this folder: curves, confusion matrices, error types, worst images. Default: no page."""
    compare: Annotated[tuple[Path, Path] | None, metavar("A B")] = None
    """Compare result file B with A on the same bootstrap samples, instead of evaluating a model. Default: no
    comparison."""
    per_class: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also print the scores of every class."""
    engine: EngineFlag = "auto"
    threads: ThreadsFlag = None
    tta: Annotated[Literal["flip"] | None, metavar("flip")] = None
    """Use test-time augmentation: average with the horizontally flipped image. Default: none."""
    slices: Annotated[str | None, metavar("RxC")] = None
    """Also predict a grid of ROWSxCOLUMNS overlapping tiles (sliced inference). Default: no tiles."""
    overwrite: OverwriteFlag = False
    trust: TrustFlag = False
    scoring: tyro.conf.OmitArgPrefixes[tyro.conf.FlagCreatePairsOff[EvalConfig]] = DEFAULTS
    """How predictions are scored."""


def run(options: Eval) -> int:
    """Evaluate, or compare two result files."""
    from blitznet.report.eval_tables import render_class_table, render_score_table, unscored_lines

    page = None if options.html_report is None else options.html_report / "index.html"
    inputs = [Path(options.model)] if options.model else []
    prepare_files(
        options.json, options.results, page, overwrite=options.overwrite, inputs=[*inputs, *(options.compare or ())]
    )
    unknown = set(options.scoring.tasks) - set(ALL_TASKS)
    if unknown:
        raise UsageError(f"--tasks: expected some of {', '.join(ALL_TASKS)}, got {', '.join(sorted(unknown))}")
    if options.compare is not None:
        return _compare(options, *options.compare)
    is_result_file = options.model is not None and options.model.endswith(".jsonl")
    evaluation = _evaluate_results(options) if is_result_file else _evaluate_model(options)
    if options.results is not None:
        record_written(options.results)
    if options.json is not None:
        write_json(options.json, evaluation.report.to_dict())
    console = stdout_console()
    console.print(render_score_table(evaluation.report))
    for line in unscored_lines(evaluation.report.total):
        print(line)
    if options.per_class:
        console.print(render_class_table(evaluation.report.total))
    if page is not None:
        _write_page(page, options.model or DEFAULT, evaluation)
    if evaluation.engine:
        print(evaluation.engine)
    return 0


def _write_page(path: Path, title: str, evaluation: "Evaluation") -> None:
    from blitznet.report.eval_page import write_eval_page

    with progress_bars() as progress:
        write_eval_page(path, title, evaluation, progress)
    record_written(path)
    print(f"page: {path}")


def _evaluate_model(options: Eval) -> "Evaluation":
    from blitznet.api import load

    predictor = load(
        options.model or DEFAULT,
        engine=options.engine,
        threads=options.threads,
        tta=options.tta,
        slices=parse_grid(options.slices),
        trust=options.trust,
    )
    datasets = open_datasets(options.data, predictor.spec.classes)
    config = _with_available_tasks(options.scoring, predictor.spec.tasks)
    predict_image = partial(predictor.all_detections, class_map="segmentation" in config.tasks)

    def predict(title: str, sample: "Sample") -> "Result":  # noqa: ARG001 - a model needs the image only
        return predict_image(sample.image)

    return _evaluate(
        predict, datasets, config, results=options.results, engine=engine_summary(predictor, options.threads)
    )


def _evaluate_results(options: Eval) -> "Evaluation":
    from blitznet.metrics.results import read_results

    if options.results is not None:
        raise UsageError("--results: expected a model, got a result file; leave --results out")
    stored = read_results(Path(options.model or ""))
    datasets = open_datasets(options.data, stored.class_names)
    return _evaluate(stored.result_for, datasets, _with_available_tasks(options.scoring, stored.tasks))


def _evaluate(
    predict: "SamplePredictor",
    datasets: "Sequence[Dataset]",
    config: EvalConfig,
    *,
    results: Path | None = None,
    engine: str = "",
) -> "Evaluation":
    from blitznet.metrics.evaluate import accumulate, compute_report
    from blitznet.report.eval_page import Evaluation

    with progress_bars() as progress:
        states = accumulate(predict, datasets, config, results=results, progress=progress)
    report = compute_report([dataset.title for dataset in datasets], states, config)
    return Evaluation(report=report, states=states, datasets=datasets, predict=predict, engine=engine)


def _with_available_tasks(config: EvalConfig, available: Sequence[str]) -> EvalConfig:
    """The config with those of its tasks that the predictor has."""
    tasks = tuple(task for task in available if task in config.tasks)
    if not tasks:
        requested = " and ".join(config.tasks) or "no task"
        raise UsageError(f"--tasks: expected {' or '.join(available)} for these predictions, got {requested}")
    return replace(config, tasks=tasks)


def _compare(options: Eval, first: Path, second: Path) -> int:
    from blitznet.metrics.evaluate import compare_results
    from blitznet.metrics.results import read_results
    from blitznet.report.eval_tables import render_difference_table

    if options.model is not None or options.results is not None or options.html_report is not None:
        raise UsageError("--compare: expected two result files only; leave out MODEL, --results and --html-report")
    datasets = open_datasets(options.data, read_results(first).class_names)
    rounds = COMPARE_ROUNDS if options.scoring.bootstrap is None else options.scoring.bootstrap
    differences = compare_results(first, second, datasets, options.scoring, rounds=rounds)
    if options.json is not None:
        write_json(options.json, {name: difference.to_dict() for name, difference in differences.items()})
    stdout_console().print(render_difference_table(differences, str(first), str(second)))
    return 0
