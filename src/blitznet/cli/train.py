"""`blitznet train [RECIPE] [--field value ...]`: fine-tune on your data, or run a recipe or a pipeline."""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from blitznet.cli.console import notify, progress_bars, stdout_console
from blitznet.cli.flags import Imgsz, metavar, parse_imgsz
from blitznet.cli.parsing import attribute_docs, metavar_of, parse_flags, require_own_flags, wrapped
from blitznet.core.errors import UsageError
from blitznet.paper.recipes import PAPER_RECIPES
from blitznet.pipelines.shipped import PIPELINES
from blitznet.train.config import AUTO_BATCH, BASIC_OPTIONS, OPTION_GROUPS, TrainConfig
from blitznet.train.recipes import RECIPES, Recipe, finetune_config

ALL_RECIPES: dict[str, Callable[[], Recipe]] = {**RECIPES, **PAPER_RECIPES}
"""name -> recipe: this project's and the paper's"""

_DESCRIPTION = (
    "Fine-tune the default model on --data, or run a recipe or pipeline (`blitznet recipes` lists them). "
    "The same command resumes an interrupted run."
)
TRAIN_EXAMPLES = """
examples:
  blitznet train --data voc:mydata@train --val voc:mydata@val --out runs/mine
  blitznet train --data voc:mydata@train --keep --out runs/more-classes
  blitznet train table3-joint --root DATA --encoder-weights resnet50-caffe.pth
  blitznet train blitznet300-lite --root DATA"""
_OMIT_PREFIXES: Any = tyro.conf.OmitArgPrefixes
_SUPPRESS: Any = tyro.conf.Suppress
"""markers of tyro that accept types made at run time"""


@dataclass(frozen=True, kw_only=True)
class TrainPipeline:
    """Run all stages of a released model: training, pseudo-masks, weight averaging, calibration, quantization.

    The same command skips completed stages and resumes an interrupted one.
    """

    name: tyro.conf.Suppress[str] = ""
    root: Annotated[Path, metavar("DIR")] = Path("data")
    """Folder with the datasets. Default: data."""
    out: Annotated[Path | None, metavar("DIR")] = None
    """Folder for the stages and the model files. Default: runs/NAME."""
    workers: Annotated[int, metavar("N")] = 1
    """Number of data-loader processes. Default: 1."""
    threads: Annotated[int | None, metavar("N")] = None
    """Threads of torch. Default: one per core."""
    device: Annotated[str, metavar("NAME")] = "auto"
    """Device to train on: cpu, cuda or auto. Default: auto."""


def read(words: list[str]) -> TrainConfig | TrainPipeline:
    """Parse the words after `blitznet train`: a pipeline, a recipe with changed fields, or fine-tuning."""
    if not words or words[0].startswith("-"):
        return _parse_config(finetune_config(), words, "blitznet train [RECIPE]")
    name, flags = words[0], words[1:]
    if name in PIPELINES:
        prog = f"blitznet train {name}"
        options: TrainPipeline = parse_flags(TrainPipeline, flags, prog=prog, description=TrainPipeline.__doc__ or "")
        return dataclasses.replace(options, name=name, out=options.out or Path("runs", name))
    if name not in ALL_RECIPES:
        near = get_close_matches(name, [*ALL_RECIPES, *PIPELINES], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"unknown recipe '{name}'{hint} (`blitznet recipes` lists all)")
    return _parse_config(ALL_RECIPES[name]().config, flags, f"blitznet train {name}")


def run(options: TrainConfig | TrainPipeline) -> int:
    """Train, with a progress bar."""
    return _run_pipeline(options) if isinstance(options, TrainPipeline) else _run_config(options)


def option_docs() -> dict[str, str]:
    """Help text of every field of TrainConfig: the docstring below it."""
    return attribute_docs(TrainConfig)


def _parse_config(default: TrainConfig, words: Sequence[str], prog: str) -> TrainConfig:
    """The default config with the fields that flags change; `--help` shows the basic options, `--help-all` all."""
    show_all, show_help = "--help-all" in words, any(word in ("-h", "--help") for word in words)
    options_class = _grouped_options(default) if show_all else _flat_options(default, only_basic=show_help)
    words = ["--help"] if show_all else list(words)
    flags = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(TrainConfig)]
    require_own_flags(words, flags, prog.removesuffix(" [RECIPE]"))
    try:
        options = tyro.cli(options_class, args=words, prog=prog, description=wrapped(_DESCRIPTION))
    except SystemExit as stop:
        if stop.code in (0, None):
            hidden = len(dataclasses.fields(TrainConfig)) - len(BASIC_OPTIONS)
            print(TRAIN_EXAMPLES if show_all else f"{TRAIN_EXAMPLES}\n\n--help-all shows {hidden} more options")
        raise
    given_flags = {word.partition("=")[0] for word in words}
    if {"--steps", "--epochs"} <= given_flags:
        raise UsageError("--steps, --epochs: expected one of them, got both; remove one")
    if "--steps" in given_flags:
        options = dataclasses.replace(options, epochs=None)  # of the recipe
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    batch = AUTO_BATCH if values["batch"] == "auto" else values["batch"]
    return TrainConfig(**{**values, "batch": batch, "imgsz": parse_imgsz(values["imgsz"])})


def _flat_options(default: TrainConfig, *, only_basic: bool) -> Any:
    """A dataclass of all fields for tyro, the basic ones first; the help lists all or only the basic ones."""
    names = dict.fromkeys([*BASIC_OPTIONS, *(name for names in OPTION_GROUPS.values() for name in names)])
    fields = [_option(default, name, hidden=only_basic and name not in BASIC_OPTIONS) for name in names]
    return dataclasses.make_dataclass("Options", fields, kw_only=True)


def _grouped_options(default: TrainConfig) -> Any:
    """A dataclass for tyro with a nested dataclass for each group, which the help shows in a box."""
    groups = []
    for group, names in OPTION_GROUPS.items():
        options = dataclasses.make_dataclass(group, [_option(default, name) for name in names], kw_only=True)
        options.__doc__ = " "
        groups.append((group, _OMIT_PREFIXES[options], dataclasses.field(default_factory=options)))
    return dataclasses.make_dataclass("Options", groups, kw_only=True)


def _option(default: TrainConfig, name: str, *, hidden: bool = False) -> tuple[str, Any, Any]:
    """Name, annotated type and default of one field, as `make_dataclass` takes them."""
    hint = {"imgsz": Imgsz, "batch": int | Literal["auto"]}.get(name, typing.get_type_hints(TrainConfig)[name])
    argument = tyro.conf.arg(help=_help(default, name), metavar=metavar_of(hint), help_behavior_hint="")
    annotated: Any = Annotated[hint, argument]
    return (
        name,
        _SUPPRESS[annotated] if hidden else annotated,
        dataclasses.field(default=getattr(default, name)),
    )


def _help(default: TrainConfig, name: str) -> str:
    """The field's help, with the default of the recipe where it differs from that of TrainConfig."""
    text, value = option_docs()[name], getattr(default, name)
    if value == getattr(TrainConfig(), name):
        return text
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"{text[: text.rindex('Default:')]}Default: {shown}." if "Default:" in text else f"{text} Default: {shown}."


def _run_config(config: TrainConfig) -> int:
    import os

    from blitznet.cli.train_progress import TrainProgress
    from blitznet.cli.train_summary import LastEvaluation, print_summary
    from blitznet.train.loop import train

    last = LastEvaluation()
    if os.environ.get("RANK", "0") != "0":
        train(config)
        return 0
    with TrainProgress(log_every=config.log_every) as progress:
        train(config, callbacks=[progress, last], notify=notify)
    print_summary(config, last.evaluation)
    return 0


def _run_pipeline(options: TrainPipeline) -> int:
    import os

    from blitznet.pipelines.run import RunOptions, run_pipeline

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(f"{options.name}: expected one process, got torchrun; run a pipeline without torchrun")
    assert options.out is not None, "set by read"
    machine = {"workers": options.workers, "threads": options.threads, "device": options.device}
    with progress_bars() as progress:
        run_options = RunOptions(options.root, options.out, machine, progress, notify)
        result = run_pipeline(PIPELINES[options.name](), run_options)
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("score, percent", "model", "expected", ""):
        table.add_column(title, justify="left" if title.startswith("score") else "right")
    for score in result.scores:
        value = "-" if score.value is None else f"{100 * score.value:.1f}"
        table.add_row(score.name, value, f"{100 * score.expected:.1f}", "" if score.is_reached else "too low")
    stdout_console().print(table)
    print(f"model: {result.model}   weights: {result.weights}   card: {result.card}")
    return 0 if all(score.is_reached for score in result.scores) else 1
