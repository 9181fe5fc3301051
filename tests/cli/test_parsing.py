"""Help texts of all commands, and flags of other libraries."""

from dataclasses import fields, is_dataclass
from importlib import import_module

import pytest

from blitznet.cli.main import COMMANDS, main
from blitznet.cli.parsing import OTHER_FLAGS, OTHER_MEANS, attribute_docs, with_default, wrapped

HELP = [name for name, command in COMMANDS.items() if command.options]


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The help of a command."""
    assert main([*name.split(), "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", HELP)
def test_help_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(name, capsys).partition("examples:")[0]
    assert [line for line in text.splitlines()[1:] if len(line) > 80] == []
    assert "(default:" not in text
    assert "{None}" not in text


@pytest.mark.parametrize("name", [name for name in HELP if name != "train"])  # it joins its texts itself
def test_help_has_whole_texts(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    options = getattr(import_module(f"blitznet.cli.{COMMANDS[name].module}"), COMMANDS[name].options)
    text = help_of(name, capsys)
    docs = attribute_docs(options)
    own = [field.name for field in fields(options) if field.name in docs and not is_dataclass(field.default)]
    assert own or name == "recipes"
    assert [
        docs[field] for field in own if docs[field].partition("Default:")[0] not in text and field != "limits"
    ] == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "predict --conf 0.3",
            "--conf: expected an option of `blitznet predict`, got another one; use --min-score",
        ),
        ("predict --conf=0.3", "; use --min-score"),
        ("predict --save_txt", "; use --formats"),
        ("predict -o a", "; use --out"),
        (
            "predict --imgsz 640",
            "; a model file has one input size, and `blitznet export --imgsz` writes a file of another",
        ),
        ("predict --device 0", "; --engine chooses what runs the model, and onnxruntime-cuda runs it on a GPU"),
        ("predict --source a.jpg", "; give the sources without a flag"),
        ("predict --weights a.onnx", "; use --model"),
        ("export a --format onnx", "; use --to"),
        ("export a --half", "; use --precision"),
        (
            "train --batch-size 8",
            "--batch-size: expected an option of `blitznet train`, got another one; use --batch",
        ),
        ("train --lr0 0.1", "; use --lr"),
        ("train lite --name a", "option of `blitznet train lite`, got another one; use --out"),
        ("bench --device 0", "; --engine chooses"),
        ("eval --model a --data b", "; give the model without a flag"),
        ("eval --weights a --data b", "; give the model without a flag"),
        ("data check --data a", "; give the datasets without a flag"),
    ],
)
def test_flags_of_other_libraries_lead_to_ours(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("blitznet: error: -")
    assert message in error
    assert error.count("\n") == 1


def test_own_flags_are_no_flags_of_other_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soup", "a", "b", "--weights", "1", "2"]) == 2
    assert "another one" not in capsys.readouterr().err
    assert not set(OTHER_FLAGS) & set(OTHER_MEANS)


@pytest.mark.parametrize(
    ("default", "text"),
    [
        (None, "Say."),
        (True, "Say. Default: yes."),
        (20_000_000, "Say. Default: 20,000,000."),
        (30.0, "Say. Default: 30."),
        ((), "Say. Default: none."),
        (("a", "b"), "Say. Default: a b."),
        ("devkit", "Say. Default: devkit."),
    ],
)
def test_help_ends_with_the_default(default: object, text: str) -> None:
    assert with_default("Say.", default) == text
    assert with_default("Say. Default: x.", default) == "Say. Default: x."


def test_descriptions_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert wrapped("one two three four five\nsix\n\nseven") == "one two three four\n five six\n\nseven"
