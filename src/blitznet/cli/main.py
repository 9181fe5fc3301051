"""`blitznet COMMAND ...`: finds the command, reads its flags, prints a user's mistake in one line.

A command is a module with a frozen dataclass, whose fields are its flags, and `run(options) -> int`. Modules
are imported only for the command that is asked for, so that help and prediction start at once.
"""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from blitznet.core.errors import BlitzNetError, MissingExtra


class Command(NamedTuple):
    """Where a command lives, and the line of help it has in the list."""

    module: str
    options: str
    help: str
    extra: str = ""
    """what to install when a package is missing"""


COMMANDS: dict[str, Command] = {
    "predict": Command("predict", "Predict", "boxes and masks for images, with pictures and JSON"),
    "video": Command("video", "VideoOptions", "the same for videos, cameras and streams, with tracks", "video"),
    "serve": Command("serve", "Serve", "a server for images, with a page", "serve"),
    "train": Command("train", "TrainConfig", "a recipe, or the default model on your own data", "train"),
    "eval": Command("eval", "Eval", "scores of a model or a result file on data sets", "eval"),
    "data check": Command("data_check", "DataCheck", "what is broken in data sets, before an epoch is wasted", "data"),
    "data show": Command("data_show", "DataShow", "contact sheets of what the network will be fed", "data"),
    "data paint": Command("data_paint", "DataPaint", "class maps by a model, for images that have only boxes", "data"),
    "data convert": Command("data_convert", "DataConvert", "a data set of one format as files of another", "data"),
    "recipes": Command("recipes", "Recipes", "training runs: the paper's tables and ours"),
    "reproduce": Command("reproduce", "Reproduce", "a table of the paper, our figures beside its own", "train"),
    "bench": Command("bench", "Bench", "milliseconds of every stage, on this machine"),
    "info": Command("info", "Info", "what a model is, and its model card"),
    "export": Command("export", "Export", "a trained model as one file: ONNX, OpenVINO or torch", "train"),
    "calibrate": Command("calibrate", "Calibrate", "scores that mean what they say, by a model's contract", "train"),
    "average": Command("average", "Average", "several trainings of one network as one better model", "train"),
    "convert-weights": Command("convert_weights", "ConvertWeights", "the authors' checkpoint into a model", "train"),
}
"""every command, in the order of the help"""

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""exit codes: findings or failures; a mistake in the call or its input; Ctrl-C"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give the exit code: 0 done, 1 findings, 2 a mistake in the call or its input."""
    try:
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed there at exit
        return FAILED
    return code


def _main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else MISUSED
    if words[0] == "--version":
        print(f"blitznet {version('blitznet')}")
        return 0
    name, rest = _split(words)
    try:
        if name not in COMMANDS:
            raise BlitzNetError(_unknown(name))
        return _run(COMMANDS[name], name, rest)
    except BlitzNetError as error:
        print(f"blitznet: error: {error}", file=sys.stderr)
        return MISUSED
    except SystemExit as stop:  # help was printed, or a flag's value refused
        return stop.code if isinstance(stop.code, int) else MISUSED
    except KeyboardInterrupt as stop:  # a run says how to go on
        print(f"blitznet: {str(stop) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED


def _run(command: Command, name: str, words: list[str]) -> int:
    try:
        module = import_module(f"blitznet.cli.{command.module}")
        read = getattr(module, "read", None)
        options = read(words) if read else _flags(getattr(module, command.options), name, words)
        return int(module.run(options))
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").startswith("blitznet"):
            raise
        raise MissingExtra(f"`blitznet {name}`", command.extra) from error


def _flags(options: type, name: str, words: list[str]) -> object:
    import tyro

    return tyro.cli(options, prog=f"blitznet {name}", args=words)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """The command's name, which may be two words, and its arguments."""
    pair = " ".join(words[:2])
    return (pair, words[2:]) if pair in COMMANDS else (words[0], words[1:])


def _unknown(name: str) -> str:
    near = get_close_matches(name, COMMANDS, n=1)
    started = [command for command in COMMANDS if command.startswith(f"{name} ")]
    if started:
        return f"'{name}' wants a second word: {', '.join(f'`blitznet {command}`' for command in started)}"
    hint = f"; did you mean `blitznet {near[0]}`?" if near else ""
    return f"there is no command '{name}'{hint} (`blitznet --help` lists them)"


def _help() -> str:
    width = max(len(name) for name in COMMANDS) + 2
    rows = "\n".join(f"  {name:{width}}{command.help}" for name, command in COMMANDS.items())
    return (
        "blitznet: one look at a picture, object boxes and a class for every pixel\n\n"
        f"usage: blitznet COMMAND ...      `blitznet COMMAND --help` for its flags\n\n{rows}"
    )


if __name__ == "__main__":
    sys.exit(main())
