"""Existing files are replaced only if the package wrote them."""

import os
import shutil
from pathlib import Path

import pytest

from blitznet.core.errors import UsageError
from blitznet.core.written_files import WrittenFiles, record_written, require_replaceable


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "a.json"
    path.write_text("[1]")
    record_written(path)
    return path


def test_a_written_file_may_be_replaced(written: Path) -> None:
    require_replaceable([written, written.with_name("new.json")], overwrite=False)


def test_a_file_of_the_user_may_not(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"image")
    message = (
        r"b\.jpg: expected a new file, or one that blitznet wrote, got another file; "
        "choose another, or replace it with --overwrite$"
    )
    with pytest.raises(UsageError, match=message):
        require_replaceable([tmp_path / "b.jpg"], overwrite=False)
    require_replaceable([tmp_path / "b.jpg"], overwrite=True)


@pytest.mark.parametrize("change", ["edited", "copied", "cache deleted"])
def test_what_was_changed_since_counts_as_the_users(
    written: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if change == "edited":
        written.write_text("[2]")
        os.utime(written, ns=(0, 1))
    elif change == "copied":
        shutil.copyfile(written, written.with_name("copy.json"))
        written = written.with_name("copy.json")
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(written.parent / "cache"))
    assert not WrittenFiles().has(written)


def test_links_count_as_themselves(written: Path) -> None:
    link = written.with_name("link.json")
    link.symlink_to(written)
    assert not WrittenFiles().has(link)
    record_written(link)
    assert WrittenFiles().has(link)


def test_devices_may_be_written(tmp_path: Path) -> None:
    require_replaceable([Path(os.devnull)], overwrite=False)
    (tmp_path / "stdout").symlink_to(os.devnull)  # as /dev/stdout is a link
    require_replaceable([tmp_path / "stdout"], overwrite=False)


@pytest.mark.parametrize("target", ["file", "folder", "nowhere"])
def test_links_may_not_be_replaced(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(UsageError, match="link: expected a new file"):
        require_replaceable([tmp_path / "link"], overwrite=False)


def test_a_model_with_a_spec_is_of_the_package(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b'........{"__metadata__":{"blitznet":"{}"}}')
    assert WrittenFiles().has(path)
    path.write_bytes(b'........{"__metadata__":{"format":"pt"}}')
    assert not WrittenFiles().has(path)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("")
    (tmp_path / "a.json").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record_written(tmp_path / "a.json")
    assert not WrittenFiles().has(tmp_path / "a.json")
