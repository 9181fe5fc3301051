"""`blitznet COMMAND ...`: find the command, parse its flags, run it, print a BlitzNetError in one line.

A command is a module with a frozen dataclass, whose fields are the flags, and `run(options) -> int`. Only the module
of the requested command is imported, so help and prediction start fast.
"""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from inspect import cleandoc
from typing import NamedTuple

from blitznet.cli.console import VERBOSITY
from blitznet.core.errors import BlitzNetError, MissingExtra, one_line
from blitznet.core.interrupts import on_interrupt


class Command(NamedTuple):
    """A command's module, options class, line of help, and the extra that installs its packages."""

    module: str
    options: str
    help: str
    extra: str = ""


COMMANDS: dict[str, Command] = {
    "predict": Command("predict", "Predict", "detect objects and segment images"),
    "batch": Command("batch", "BatchPredict", "predict millions of images into Parquet files, also on Ray", "batch"),
    "video": Command("video", "Video", "annotate and track in videos, cameras and streams", "video"),
    "serve": Command("serve", "Serve", "serve predictions over HTTP, with a web page", "serve"),
    "train": Command("train", "TrainConfig", "fine-tune on your data, or run a recipe or pipeline", "train"),
    "eval": Command("eval", "Eval", "evaluate a model or a result file on datasets"),
    "export": Command("export", "Export", "export a trained model to ONNX, OpenVINO or torch.export", "train"),
    "bench": Command("bench", "Bench", "measure latency and throughput on this machine"),
    "info": Command("info", "Info", "show a model's metadata, write its model card"),
    "calibrate": Command("calibrate", "Calibrate", "calibrate confidence scores on labeled images", "train"),
    "data check": Command("data_check", "DataCheck", "find errors in datasets before training", "data"),
    "data preview": Command("data_preview", "DataPreview", "draw augmented training images on a contact sheet", "data"),
    "data convert": Command("data_convert", "DataConvert", "convert a dataset to another format", "data"),
    "data soft-label": Command("data_soft_label", "DataSoftLabel", "write the class scores of a teacher", "data"),
    "data pseudo-label": Command(
        "data_pseudo_label", "DataPseudoLabel", "generate pseudo-masks for images that only have boxes", "data"
    ),
    "soup": Command("soup", "Soup", "average the weights of several trainings (model soup)", "train"),
    "reproduce": Command("reproduce", "Reproduce", "reproduce a table of the paper", "train"),
    "recipes": Command("recipes", "Recipes", "list training recipes and pipelines"),
    "convert-weights": Command("convert_weights", "ConvertWeights", "convert the authors' checkpoint", "train"),
    "completion": Command("completion", "Completion", "print a script that completes commands and flags in a shell"),
}
"""every command, in the order of the help"""

ALIASES = {"val": "eval"}
"""other names of commands"""

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130
"""exit codes: findings or a failure; an error in the call or its input; Ctrl-C or SIGTERM"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line after the program's name. Default: those of the process.

    Returns:
        The exit code: 0 for success, 1 for findings, 2 for an error in the call or its input, 130 after Ctrl-C or
        SIGTERM.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have characters that the terminal lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with on_interrupt(_raise_interrupt), warnings.catch_warnings():
            # Pillow's, about images that are refused in one line, and about EXIF data that are not needed
            warnings.filterwarnings("ignore", module=r"PIL\.")
            logging.getLogger("PIL").setLevel(logging.CRITICAL)
            code = _main(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:  # the caller may have closed it
            sys.stdout.flush()
    except BrokenPipeError:  # the program that reads the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit succeeds
        return EXIT_FAILURE
    return code


def _raise_interrupt(is_repeated: bool) -> None:  # noqa: ARG001 - each request stops what runs at the moment
    raise KeyboardInterrupt


def _main(words: list[str]) -> int:
    words = _set_verbosity(words)
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if words else EXIT_USAGE
    group = _subcommands(words[0])
    if group and words[1:] in (["-h"], ["--help"], ["help"]):
        print(_group_help(words[0], group))
        return 0
    if words[0] in ("-V", "--version", "version"):
        print(f"blitznet {version('blitznet')}")
        return 0
    name, rest = _split(words)
    try:
        if name not in COMMANDS:
            raise BlitzNetError(_unknown(name))
        return _run(COMMANDS[name], name, rest)
    except BlitzNetError as error:
        if VERBOSITY.verbose:
            raise
        print(f"blitznet: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:  # of a path that no reader or writer expected: too long a name, no permission
        if isinstance(error, BrokenPipeError) or VERBOSITY.verbose:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"blitznet: error: {one_line(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return EXIT_USAGE
    except MemoryError:
        if VERBOSITY.verbose:
            raise
        print("blitznet: error: expected more free memory; use smaller files, or a larger machine", file=sys.stderr)
        return EXIT_USAGE
    except SystemExit as stop:  # the help was printed, or the value of a flag was refused
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except KeyboardInterrupt as stop:  # training adds how to resume
        print(f"blitznet: {str(stop) or 'interrupted'}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _set_verbosity(words: list[str]) -> list[str]:
    """Take `-q` and `-v` out of the words, before or after the command."""
    VERBOSITY.quiet = any(word in ("-q", "--quiet") for word in words)
    VERBOSITY.verbose = any(word in ("-v", "--verbose") for word in words)
    if VERBOSITY.verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s: %(message)s")
    return [word for word in words if word not in ("-q", "--quiet", "-v", "--verbose")]


def _run(command: Command, name: str, words: list[str]) -> int:
    try:
        module = import_module(f"blitznet.cli.{command.module}")
        read = getattr(module, "read", None)
        options = read(words) if read else parse(getattr(module, command.options), name, words)
        with _free_stdout(options):
            return int(module.run(options))
    except ModuleNotFoundError as error:
        if not command.extra or (error.name or "").startswith("blitznet"):
            raise
        raise MissingExtra(f"`blitznet {name}`", command.extra) from error


def _free_stdout(options: object) -> AbstractContextManager[object]:
    """While the command writes a file to stdout, what it prints goes to stderr."""
    from blitznet.cli.files import STDOUT

    names = (getattr(options, field, None) for field in ("json", "card"))
    return redirect_stdout(sys.stderr) if any(name in STDOUT for name in names) else nullcontext()


def parse(options: type, name: str, words: list[str]) -> object:
    """The flags of one command; `--help` prints the examples of the class's docstring after the flags."""
    from blitznet.cli.parsing import parse_flags

    description, _, examples = cleandoc(options.__doc__ or "").partition("Examples:")
    try:
        return parse_flags(options, words, prog=f"blitznet {name}", description=description.strip())
    except SystemExit as stop:
        if examples and stop.code in (0, None):
            print("examples:\n" + "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines()))
        raise


def _split(words: list[str]) -> tuple[str, list[str]]:
    """The command's name, which may have two words, and its arguments."""
    pair = " ".join(words[:2])
    if pair in COMMANDS:
        return pair, words[2:]
    return ALIASES.get(words[0], words[0]), words[1:]


def _unknown(name: str) -> str:
    subcommands = _subcommands(name)
    if subcommands:
        return (
            f"'{name}': expected a subcommand, one of {', '.join(f'`blitznet {command}`' for command in subcommands)}"
        )
    near = get_close_matches(name, [*COMMANDS, *ALIASES, "--help", "--version"], n=1)
    hint = f"; did you mean `blitznet {near[0]}`?" if near else ""
    return f"unknown command '{name}'{hint} (`blitznet --help` lists all commands)"


def _subcommands(name: str) -> list[str]:
    """The commands of two words that begin with `name`."""
    return [command for command in COMMANDS if command.startswith(f"{name} ")]


def _group_help(name: str, commands: Sequence[str]) -> str:
    return (
        f"usage: blitznet {name} COMMAND ...      `blitznet {name} COMMAND --help` shows its flags\n\n{_rows(commands)}"
    )


def _rows(names: Iterable[str]) -> str:
    """A line of help for each command."""
    width = max(len(name) for name in COMMANDS) + 2
    return "\n".join(f"  {name:{width}}{COMMANDS[name].help}" for name in names)


def _help() -> str:
    rows = _rows(COMMANDS)
    return (
        "blitznet: object boxes and a class for every pixel, in one pass\n\n"
        f"usage: blitznet COMMAND ...      `blitznet COMMAND --help` shows its flags\n\n{rows}\n\n"
        "every command:\n"
        "  -q, --quiet      print no progress bars and no notices\n"
        "  -v, --verbose    print tracebacks of errors and log messages\n"
        "  --version        print the version"
    )


if __name__ == "__main__":
    sys.exit(main())
