import os
from pathlib import Path

import pytest

from blitznet.runtime.cache import cache_folder


def test_cache_folder_is_under_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "deep"))
    assert cache_folder("openvino") == tmp_path / "deep" / "blitznet" / "openvino"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("openvino") == tmp_path / ".cache" / "blitznet" / "openvino"
    assert (tmp_path / ".cache" / "blitznet" / "openvino").is_dir()


def test_cache_folder_is_none_if_it_cannot_be_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder("openvino") is None


def test_cache_folder_deletes_the_oldest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("blitznet.runtime.cache.MAX_BYTES", 25)
    folder = cache_folder("openvino")
    assert folder is not None
    for age, name in enumerate(("new", "middle", "old")):
        (folder / name).write_bytes(b"0123456789")
        os.utime(folder / name, (1000 - age, 1000 - age))
    assert cache_folder("openvino") == folder
    assert {file.name for file in folder.iterdir()} == {"new", "middle"}
