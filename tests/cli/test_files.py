"""Output files of commands: none of the user's is replaced, and wrong paths are errors before the work."""

import dataclasses
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest

from blitznet.cli.files import make_folders, prepare_files, write_json
from blitznet.cli.main import COMMANDS
from blitznet.core.errors import UsageError

FOLDERS_OF_RUNS = {"train", "reproduce", "data pseudo-label", "data soft-label"}
"""commands that write into a folder of their own, resume there, and refuse a folder of something else"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_command_that_writes_files_has_overwrite() -> None:
    writing = {"out", "json", "card", "results", "html_report"}
    for name, command in COMMANDS.items():
        options = getattr(import_module(f"blitznet.cli.{command.module}"), command.options)
        fields = {field.name for field in dataclasses.fields(options)}
        if fields & writing and name not in FOLDERS_OF_RUNS:
            assert "overwrite" in fields, name


def test_a_file_of_the_user_is_an_error_before_any_folder_is_made() -> None:
    Path("image.jpg").write_bytes(b"image")
    with pytest.raises(UsageError, match=r"image\.jpg: expected a new file, or one that blitznet wrote"):
        prepare_files(Path("new/a.json"), None, Path("image.jpg"), overwrite=False)
    assert not Path("new").exists()
    prepare_files(Path("new/a.json"), Path("image.jpg"), overwrite=True)
    assert Path("new").is_dir()


def test_an_input_is_never_replaced() -> None:
    Path("image.jpg").write_bytes(b"image")
    with pytest.raises(UsageError, match=r"image\.jpg: expected a new file, got one that the command reads"):
        prepare_files(
            Path("image.jpg"), overwrite=True, inputs=[Path("gone.jpg"), Path("../") / Path.cwd() / "image.jpg"]
        )


def test_two_outputs_of_one_name_and_folders_are_errors() -> None:
    with pytest.raises(UsageError, match=r"a\.json, a\.json: expected different files, got one twice"):
        prepare_files(Path("a.json"), Path("a.json"), overwrite=True)
    Path("folder").mkdir()
    with pytest.raises(UsageError, match=r"folder: expected a file to write, got a folder"):
        prepare_files(Path("folder"), overwrite=True)


def test_what_was_written_may_be_replaced_until_it_is_edited() -> None:
    for value in (1, 2):
        prepare_files(Path("a.json"), overwrite=False)
        write_json(Path("a.json"), value)
    Path("a.json").write_text("[mine]")
    with pytest.raises(UsageError):
        prepare_files(Path("a.json"), overwrite=False)


def test_a_folder_without_write_permission_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "shut")
    Path("shut").mkdir()
    message = "shut: expected a writable output folder, got 'Permission denied'"
    with pytest.raises(UsageError, match=message):
        make_folders(Path("shut"))
    with pytest.raises(UsageError, match=message):
        prepare_files(Path("shut/a.json"), overwrite=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    prepare_files(Path(os.devnull), overwrite=False)


def test_a_closed_stdout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(UsageError, match="-: expected an open stdout, got a closed one; name a file"):
        write_json(Path("-"), [])
    assert not Path("-").exists()


def test_devices_are_written_to() -> None:
    prepare_files(Path(os.devnull), overwrite=False)
    write_json(Path(os.devnull), [])
