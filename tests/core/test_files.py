from pathlib import Path

from blitznet.core.files import write_whole


def test_writing_whole_leaves_nothing_beside(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", b"one")
    write_whole(tmp_path / "a.txt", b"two")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "two")]
