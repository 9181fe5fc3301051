"""Markdown of the generated reference pages: commands from `COMMANDS`, training options from `TrainConfig`."""

import ast
import dataclasses
import inspect
import re
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tyro

import blitznet.train.config as train_config
from blitznet.cli.main import COMMANDS, Command
from blitznet.cli.train import TRAIN_EXAMPLES, option_docs
from blitznet.train.config import OPTION_GROUPS, TrainConfig
from blitznet.train.recipes import finetune_config


def commands() -> str:
    """A section for each command: purpose, flags, examples."""
    rows = [
        f"| [`{name}`](#blitznet-{name.replace(' ', '-')}) | {command.help} | {_extra(command)} |"
        for name, command in COMMANDS.items()
    ]
    overview = "\n".join(["| command | purpose | extra |", "|---|---|---|", *rows])
    return "\n\n".join([overview, *(_section(name, command) for name, command in COMMANDS.items())])


def config() -> str:
    """A table for each group of `TrainConfig`, with the values that fine-tuning without a recipe uses."""
    texts, types = option_docs(), _annotations(TrainConfig)
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    tuned = finetune_config()
    parts = []
    for group, names in OPTION_GROUPS.items():
        rows = [
            (
                f"`{name}`",
                _type(types[name]),
                _value(fields[name].default),
                _changed(fields[name].default, getattr(tuned, name)),
                _cell(_without_default(texts[name]) if fields[name].default else texts[name]),
            )
            for name in names
        ]
        heading = ("field", "type", "default", "fine-tuning", "meaning")
        parts.append(f"## {group.capitalize()}\n\n{_table(heading, rows)}")
    return "\n\n".join(parts)


def _section(name: str, command: Command) -> str:
    options = getattr(import_module(f"blitznet.cli.{command.module}"), command.options)
    description, _, examples = (inspect.getdoc(options) or "").partition("Examples:")
    parts = [f"## blitznet {name}", description.strip()]
    if name == "train":
        parts = [f"## blitznet {name}", f"`blitznet train [RECIPE] [FLAG ...]`: {command.help}."]
        examples = "\n".join(TRAIN_EXAMPLES.strip().splitlines()[1:])
        parts.append("[Training options](config.md) lists all flags: a field `batch` is the flag `--batch`.")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            parser: Any = tyro.extras.get_parser(options)
        rows = [_flag(action) for action in parser._actions if action.dest != "help"]
        parts.append(_table(("argument", "meaning"), rows) if rows else "It has no flags.")
    if examples.strip():
        lines = [line.strip() for line in examples.strip().splitlines()]
        parts.append("```text\n" + "\n".join(lines) + "\n```")
    return "\n\n".join(parts)


def _flag(action: Any) -> tuple[str, str]:
    """The table row of one argparse action."""
    name = ", ".join(action.option_strings)
    metavar = "" if action.nargs == 0 or not action.metavar else str(action.metavar)
    default = r"\s*\(default: ([^)]*)\)\s*$"
    text = re.sub(default, "", action.help or "")
    shown = re.search(default, action.help or "")
    if shown and shown[1] not in ("", "False") and "Default:" not in text:
        text = f"{text.rstrip()} Default: {shown[1]}."
    return f"`{' '.join(filter(None, (name, metavar)))}`".replace("|", "\\|"), _cell(
        text.replace("(required)", "Required.")
    )


def _extra(command: Command) -> str:
    return f"`{command.extra}`" if command.extra else ""


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text on one line of a table; braces and angle brackets are not markup."""
    return re.sub(r"([|{}<>*])", r"\\\1", " ".join(text.split()))


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(f"`{item}`" for item in value) or "–"
    if value is None:
        return "–"
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _changed(default: Any, value: Any) -> str:
    return "" if value == default else _value(value)


def _without_default(text: str) -> str:
    """Help without its last sentence, which the column of defaults repeats."""
    return re.sub(r"\s*Default: [^.]*(\.\d[^.]*)*\.$", "", text)


def _type(annotation: str) -> str:
    """An annotation, with the choices of literals in place of their alias."""
    alias = getattr(train_config, annotation, None)
    choices = get_args(alias) if get_origin(alias) is Literal else ()
    return ", ".join(f"`{choice}`" for choice in choices) or f"`{annotation}`".replace("|", "\\|")


def _annotations(cls: type) -> dict[str, str]:
    """Annotations of a dataclass as they are written."""
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in ast.walk(ast.parse(inspect.getsource(cls)))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


GENERATED = {
    "reference/cli": ("<!-- generated: commands -->", commands),
    "reference/config": ("<!-- generated: config -->", config),
}
"""page -> placeholder and the function whose text replaces it"""
