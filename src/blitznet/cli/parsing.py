"""Parse the flags of a command, with help texts as they are written in the options class.

tyro would break a help text where its docstring does, and print defaults twice.
"""

import ast
import dataclasses
import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from blitznet.core.errors import UsageError

_OUT = dict.fromkeys(("-o", "--output", "--output-dir", "--save-dir", "--project", "--name"), ("--out",))
_MIN_SCORE = dict.fromkeys(
    ("--conf", "--conf-thres", "--confidence", "--score", "--score-thr", "--threshold"), ("--min-score",)
)
OTHER_FLAGS: dict[str, tuple[str, ...]] = {
    **_MIN_SCORE,
    **_OUT,
    **dict.fromkeys(("--weights", "--checkpoint"), ("--model",)),
    **dict.fromkeys(("--batch-size", "--bs"), ("--batch",)),
    **dict.fromkeys(("--half", "--fp16", "--int8"), ("--precision",)),
    **dict.fromkeys(("--lr0", "--learning-rate"), ("--lr",)),
    **dict.fromkeys(("--dataset", "--datasets"), ("--data",)),
    **dict.fromkeys(("--num-epochs", "--max-epochs"), ("--epochs",)),
    **dict.fromkeys(("--max-steps", "--iterations"), ("--steps",)),
    **dict.fromkeys(("--num-workers", "-j"), ("--workers",)),
    "--format": ("--to", "--formats"),
    "--save-txt": ("--formats",),
    "--names": ("--class-names",),
    "--save-period": ("--save-every",),
    "--augment": ("--tta",),
}
"""flag of another library -> ours with the same meaning, the first that the command has"""
WITHOUT_FLAG: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("--model", "--weights"), ("model", "models")),
    **dict.fromkeys(("--source", "--sources", "--input", "--images"), ("source", "sources")),
    **dict.fromkeys(("--data", "--dataset", "--datasets"), ("dataset", "datasets")),
}
"""flag -> arguments without a flag that have its meaning"""
OTHER_MEANS: dict[str, str] = {
    "--imgsz": "a model file has one input size, and `blitznet export --imgsz` writes a file of another size",
    "--device": "--engine chooses what runs the model, and onnxruntime-cuda runs it on a GPU",
    "--iou": "the IoU of NMS is part of the model's spec",
    "--resume": "the same command resumes a run",
}
"""flag of another library -> what to do, for commands without that flag"""


def parse_flags(options: Any, words: Sequence[str], *, prog: str, description: str) -> Any:
    """The options of a command.

    Args:
        options: The dataclass whose fields are the flags.
        words: The words after the command.
        prog: The command, for the help.
        description: What the command does, for the help.

    Raises:
        UsageError: A flag is one of another library.
        SystemExit: The help was printed, or a flag is wrong.
    """
    require_own_flags(words, flags_of(options), prog, positionals=positionals_of(options))
    prepare_help(options)
    return tyro.cli(options, args=words, prog=prog, description=wrapped(description))


def require_own_flags(
    words: Sequence[str], flags: Iterable[str], prog: str, *, positionals: Iterable[str] = ()
) -> None:
    """Raise UsageError that names what to use in place of a flag which the command lacks, if that is known."""
    own, without_flag = set(flags), set(positionals)
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if flag in own:
            continue
        means = [f"use {name}" for name in OTHER_FLAGS.get(flag, ()) if name in own]
        means += [f"give the {name} without a flag" for name in WITHOUT_FLAG.get(flag, ()) if name in without_flag]
        if not means and flag in OTHER_MEANS and "--engine" in own:
            means = [OTHER_MEANS[flag]]
        if means:
            raise UsageError(f"{flag}: expected an option of `{prog}`, got another one; {means[0]}")


def flags_of(options: type) -> Iterator[str]:
    """The flags of a dataclass, and of the dataclasses in it."""
    hints, positionals = typing.get_type_hints(options), set(positionals_of(options))
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from flags_of(typing.cast("type", hints[field.name]))
        elif field.name not in positionals:
            yield f"--{field.name.replace('_', '-')}"


def positionals_of(options: type) -> Iterator[str]:
    """The fields of a dataclass that are arguments without a flag."""
    for name, hint in typing.get_type_hints(options, include_extras=True).items():
        if tyro.conf.Positional in typing.get_args(hint)[1:]:
            yield name


@cache
def prepare_help(options: type) -> None:
    """Give the fields of a dataclass, and of those in it, help texts of whole lines that end with the default."""
    hints, docs = typing.get_type_hints(options, include_extras=True), attribute_docs(options)
    plain, positionals = typing.get_type_hints(options), set(positionals_of(options))
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(plain[field.name]):
            prepare_help(typing.cast("type", plain[field.name]))
        elif field.default is not dataclasses.MISSING:
            is_required = field.default == () and field.name in positionals
            text = docs.get(field.name)
            if text is not None and not is_required:
                text = with_default(text, field.default)
            hints[field.name] = Annotated[
                hints[field.name], tyro.conf.arg(help=text, help_behavior_hint="", metavar=_metavar(hints[field.name]))
            ]
    options.__annotations__ = {field.name: hints[field.name] for field in dataclasses.fields(options)}


def attribute_docs(options: type) -> dict[str, str]:
    """The docstrings below the fields of a dataclass, each in one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(options)))
    assert isinstance(tree.body[0], ast.ClassDef)
    docs = {}
    for item, following in pairwise(tree.body[0].body):
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            docs[item.target.id] = " ".join(str(following.value.value).split())
    return docs


def with_default(text: str, default: Any) -> str:
    """A help text that ends with its default; None has none, as the text explains what is done then."""
    if "Default:" in text or default is None:
        return text
    if isinstance(default, bool):
        shown = "yes" if default else "no"
    elif isinstance(default, tuple):
        shown = " ".join(map(str, default)) or "none"
    else:
        shown = (
            f"{default:,}"
            if isinstance(default, int)
            else f"{default:g}"
            if isinstance(default, float)
            else str(default)
        )
    return f"{text} Default: {shown}."


def wrapped(description: str) -> str:
    """The paragraphs of a description for the width of the terminal."""
    width = shutil.get_terminal_size().columns
    paragraphs = [" ".join(paragraph.split()) for paragraph in description.split("\n\n")]
    # tyro joins lines that begin with a letter
    return "\n\n".join("\n ".join(textwrap.wrap(paragraph, width - 1)) for paragraph in paragraphs)


def metavar_of(hint: Any) -> str | None:
    """How the help shows a flag's value: PATH, N, {a,b} or X [X ...]; None for flags without a value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return "N | H W"
    if origin in (types.UnionType, typing.Union):
        kinds = [kind for kind in arguments if kind is not type(None)]
        return "|".join(metavar_of(kind) or "" for kind in kinds)
    if origin is Literal:
        return "{" + ",".join(arguments) + "}" if len(arguments) > 1 else str(arguments[0])
    if origin is tuple:
        item = metavar_of(arguments[0]) or ""
        return f"{item} [{item} ...]" if Ellipsis in arguments else " ".join([item] * len(arguments))
    return {bool: None, int: "N", float: "FLOAT", Path: "PATH", str: "TEXT"}[hint]


def _metavar(hint: Any) -> str | None:
    """The metavar of a field that does not have one of its own."""
    return None if typing.get_origin(hint) is Annotated else metavar_of(hint)
