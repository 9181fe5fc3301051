from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.video.mp4 import is_mp4_without_index
from blitznet.video.reader import open_video
from support.videos import write_video


def test_an_mp4_file_without_its_index_is_recognized(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", frames=30)
    assert not is_mp4_without_index(str(whole))
    truncated = tmp_path / "truncated.mp4"
    truncated.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert is_mp4_without_index(str(truncated))
    with pytest.raises(DataError, match=r"truncated\.mp4: cannot be opened as a video .*the file is truncated"):
        open_video(str(truncated))


@pytest.mark.parametrize("content", [b"", b"no video", b"\0\0\0\x08ftyp\0\0\0\x08moov", b"\xff" * 64])
def test_other_files_are_not_truncated_mp4_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert not is_mp4_without_index(str(path))
    assert not is_mp4_without_index(str(tmp_path / "missing"))
