import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from blitznet.cli.main import COMMANDS, Command, main
from blitznet.core.errors import DataError
from blitznet.train.interrupts import Stopped
from support.without_torch import python


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in said
        assert command.help in said


def test_without_a_command_help_and_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: blitznet COMMAND" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("blitznet 0.")


def test_every_commands_help_without_torch() -> None:
    code = """
import sys
from blitznet.cli.main import COMMANDS, main
print([main([*name.split(), "--help"]) for name in COMMANDS], "torch" in sys.modules)
"""
    assert python(code).endswith(f"{[0] * len(COMMANDS)} False")


def test_recipes_without_torch() -> None:
    said = python("import sys; from blitznet.cli.main import main; sys.exit(main(['recipes']))")
    assert "table1-300-s4-seg" in said


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.options])
def test_commands_are_there(name: str) -> None:
    module = import_module(f"blitznet.cli.{COMMANDS[name].module}")
    assert hasattr(module, COMMANDS[name].options)
    assert callable(module.run)


TWO_WORDS = (
    "'data' wants a second word: `blitznet data check`, `blitznet data show`, `blitznet data paint`, "
    "`blitznet data convert`"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predcit"], "there is no command 'predcit'; did you mean `blitznet predict`? (`blitznet --help` lists them)"),
        (["xyzzy", "-x"], "there is no command 'xyzzy' (`blitznet --help` lists them)"),
        (
            ["data"],
            TWO_WORDS,
        ),
        (
            ["data", "chekc"],
            TWO_WORDS,
        ),
    ],
)
def test_commands_that_are_none(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"blitznet: error: {message}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "--score", "high"], "--score"),
        (["predict", "--scoer", "0.5"], "--scoer"),
        (["data", "show", "--policy", "wild"], "--policy"),
        (["eval", "model.onnx"], "--data"),
        (["train", "lite", "--steps", "many"], "--steps"),
    ],
)
def test_flags_that_are_wrong(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def told(monkeypatch: pytest.MonkeyPatch, error: BaseException, *, extra: str = "") -> None:
    """Make `blitznet recipes` end with this error."""

    def run(options: object) -> int:
        raise error

    module = import_module("blitznet.cli.recipes")
    monkeypatch.setitem(COMMANDS, "recipes", Command("recipes", "Recipes", "", extra))
    monkeypatch.setitem(sys.modules, "blitznet.cli.recipes", SimpleNamespace(Recipes=module.Recipes, run=run))


def test_a_users_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told(monkeypatch, DataError("a.jpg: there is no such file"))
    assert main(["recipes"]) == 2
    assert capsys.readouterr().err == "blitznet: error: a.jpg: there is no such file\n"


def test_an_interruption_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told(monkeypatch, KeyboardInterrupt())
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "blitznet: interrupted\n"
    told(monkeypatch, Stopped("stopped after step 5 of 8; the same command goes on from runs/a"))
    assert main(["recipes"]) == 130
    assert capsys.readouterr().err == "blitznet: stopped after step 5 of 8; the same command goes on from runs/a\n"


def test_a_missing_package_is_named_by_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"), extra="train")
    assert main(["recipes"]) == 2
    assert capsys.readouterr().err == "blitznet: error: `blitznet recipes` needs `pip install 'blitznet[train]'`\n"


@pytest.mark.parametrize(("name", "extra"), [("torch", ""), ("blitznet.core.gone", "train")])
def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    told(monkeypatch, ModuleNotFoundError(f"No module named '{name}'", name=name), extra=extra)
    with pytest.raises(ModuleNotFoundError, match=name):
        main(["recipes"])


@pytest.mark.parametrize("command", ["export a.safetensors", "convert-weights a.npz --model blitznet300-s8", "train"])
def test_commands_that_need_torch_say_so(command: str) -> None:
    code = """
import contextlib, io, sys
from blitznet.cli.main import main
said = io.StringIO()
with contextlib.redirect_stderr(said):
    code = main(sys.argv[1:])
print(code, said.getvalue())
"""
    name = command.split()[0]
    expected = f"2 blitznet: error: `blitznet {name}` needs `pip install 'blitznet[train]'`"
    assert python(code, *command.split()) == expected


@pytest.mark.parametrize("words", [["--help"], ["recipes"], ["eval", "--help"]], ids=" ".join)
def test_a_reader_that_has_enough(words: list[str]) -> None:
    """As under `| head`: the pipe is closed before we write."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "blitznet", *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
