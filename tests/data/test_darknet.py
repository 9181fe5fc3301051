"""The Darknet reader."""

from pathlib import Path

import pytest

from blitznet.core.errors import DataError
from blitznet.data.darknet import open_darknet
from support import exports, synthetic_data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    exports.write_darknet(tmp_path, synthetic_data.draw(3))
    return tmp_path


def test_the_only_split_may_be_omitted(root: Path) -> None:
    assert open_darknet(root, None, title="t").ids == open_darknet(root / "obj.data", "train", title="t").ids
    with pytest.raises(DataError, match="there is no split 'val'; splits here: train; write darknet:"):
        open_darknet(root, "val", title="t")


def test_a_split_may_be_called_valid(root: Path) -> None:
    with (root / "obj.data").open("a") as file:
        file.write("valid = data/train.txt\n")
    assert len(open_darknet(root, "val", title="t")) == 3
    with pytest.raises(DataError, match="expected a split; splits here: train, valid"):
        open_darknet(root, None, title="t")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("obj.data", "classes = 3", "expected a Darknet file such as obj.data"),
        ("obj.names", "", "expected one class name per line, got an empty file"),
        ("train.txt", "", "expected one image per line, got an empty list"),
    ],
)
def test_broken_files_are_refused(name: str, text: str, message: str, root: Path) -> None:
    (root / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_darknet(root, "train", title="t")
