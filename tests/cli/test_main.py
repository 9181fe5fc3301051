import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from blitznet.cli.console import VERBOSITY
from blitznet.cli.main import COMMANDS, Command, main
from blitznet.core.errors import BlitzNetError, DataError
from blitznet.train.interrupts import TrainingInterrupted
from support.without_torch import python


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in output
        assert command.help in output


def test_no_command_prints_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: blitznet COMMAND" in capsys.readouterr().out


def test_val_is_an_alias_of_eval(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["val", "--help"]) == 0
    assert "usage: blitznet eval" in capsys.readouterr().out


def test_help_ends_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in COMMANDS.items():
        if command.options == "TrainConfig":
            continue
        assert main([*name.split(), "--help"]) == 0
        output = capsys.readouterr().out
        assert f"\n  blitznet {name}" in output[output.index("examples:") :], name


def test_verbosity_flags_work_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-q", "recipes"], ["recipes", "--quiet"]):
        assert main(words) == 0
        assert VERBOSITY.quiet
    with pytest.raises(BlitzNetError, match="unknown command"):
        main(["-v", "xyzzy"])
    assert main(["recipes"]) == 0
    assert not VERBOSITY.quiet


def test_every_commands_help_without_torch() -> None:
    code = """
import sys
from blitznet.cli.console import VERBOSITY
from blitznet.cli.main import COMMANDS, main
print([main([*name.split(), "--help"]) for name in COMMANDS], "torch" in sys.modules)
"""
    assert python(code).endswith(f"{[0] * len(COMMANDS)} False")


def test_recipes_without_torch() -> None:
    output = python("import sys; from blitznet.cli.main import main; sys.exit(main(['recipes']))")
    assert "table1-300-s4-seg" in output


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.options])
def test_every_command_has_options_and_run(name: str) -> None:
    module = import_module(f"blitznet.cli.{COMMANDS[name].module}")
    assert hasattr(module, COMMANDS[name].options)
    assert callable(module.run)


SUBCOMMANDS = (
    "'data': expected a subcommand, one of `blitznet data check`, `blitznet data preview`, `blitznet data convert`, "
    "`blitznet data soft-label`, `blitznet data pseudo-label`"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["predcit"],
            "unknown command 'predcit'; did you mean `blitznet predict`? (`blitznet --help` lists all commands)",
        ),
        (["xyzzy", "-x"], "unknown command 'xyzzy' (`blitznet --help` lists all commands)"),
        (
            ["data"],
            SUBCOMMANDS,
        ),
        (
            ["data", "chekc"],
            SUBCOMMANDS,
        ),
    ],
)
def test_unknown_command(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"blitznet: error: {message}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "--min-score", "high"], "--min-score"),
        (["predict", "--min-scoer", "0.5"], "--min-scoer"),
        (["data", "preview", "--policy", "wild"], "--policy"),
        (["eval", "model.onnx"], "--data"),
        (["train", "lite", "--steps", "many"], "--steps"),
    ],
)
def test_invalid_flags(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def make_recipes_raise(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, extra: str = "") -> None:
    """Make `blitznet recipes` end with this error."""

    def run(options: object) -> int:
        raise error

    module = import_module("blitznet.cli.recipes")
    monkeypatch.setitem(COMMANDS, "recipes", Command("recipes", "Recipes", "", extra))
    monkeypatch.setitem(sys.modules, "blitznet.cli.recipes", SimpleNamespace(Recipes=module.Recipes, run=run))


def test_user_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_recipes_raise(monkeypatch, DataError("a.jpg: expected a file, got a path that does not exist"))
    assert main(["recipes"]) == 2
    assert capsys.readouterr().err == "blitznet: error: a.jpg: expected a file, got a path that does not exist\n"


def test_interrupt_has_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_recipes_raise(monkeypatch, KeyboardInterrupt())
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "blitznet: interrupted\n"
    make_recipes_raise(
        monkeypatch, TrainingInterrupted("stopped after step 5 of 8; run the same command to resume from runs/a")
    )
    assert main(["recipes"]) == 130
    assert (
        capsys.readouterr().err == "blitznet: stopped after step 5 of 8; run the same command to resume from runs/a\n"
    )


def test_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_recipes_raise(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"), extra="train")
    assert main(["recipes"]) == 2
    assert capsys.readouterr().err == "blitznet: error: `blitznet recipes` needs `pip install 'blitznet[train]'`\n"


@pytest.mark.parametrize(("name", "extra"), [("torch", ""), ("blitznet.core.gone", "train")])
def test_internal_import_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    make_recipes_raise(monkeypatch, ModuleNotFoundError(f"No module named '{name}'", name=name), extra=extra)
    with pytest.raises(ModuleNotFoundError, match=name):
        main(["recipes"])


@pytest.mark.parametrize("command", ["export a.safetensors", "convert-weights a.npz --model blitznet300-s8", "train"])
def test_commands_without_torch_name_the_extra(command: str) -> None:
    code = """
import contextlib, io, sys
from blitznet.cli.main import main
output = io.StringIO()
with contextlib.redirect_stderr(output):
    code = main(sys.argv[1:])
print(code, output.getvalue())
"""
    name = command.split()[0]
    expected = f"2 blitznet: error: `blitznet {name}` needs `pip install 'blitznet[train]'`"
    assert python(code, *command.split()) == expected


@pytest.mark.parametrize("words", [["--help"], ["recipes"], ["eval", "--help"]], ids=" ".join)
def test_closed_stdout(words: list[str]) -> None:
    """As under `| head`: the pipe is closed before the command writes."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "blitznet", *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("words", [("data", "--help"), ("data", "-h"), ("data", "help"), ("help", "data")])
def test_help_of_a_group_lists_its_commands(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    output = capsys.readouterr().out
    for name in ("data check", "data preview", "data convert", "data pseudo-label"):
        assert f"  {name} " in output


def test_help_of_a_command_has_two_forms(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for words in (("recipes", "--help"), ("help", "recipes")):
        assert main(words) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("word", ["--version", "-V", "version"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out.startswith("blitznet ")
