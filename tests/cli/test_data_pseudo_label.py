from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from blitznet.cli.main import main
from support.cli_datasets import TOY_SPEC, write_model, write_voc


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_images_with_boxes_only_are_painted(capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=3)
    words = ["data", "paint", f"{text},masks=none", "--teacher", write_model(), "--out", "painted"]
    assert main(words) == 0
    assert capsys.readouterr().out == "class maps: painted   3 new   train with --pseudo painted\n"
    assert Path("painted/classes.txt").read_text().split() == list(TOY_SPEC.classes)
    for path in Path("painted/voc-voc-train").glob("*.png"):
        with Pillow.open(Path("voc/JPEGImages") / path.name) as image, Pillow.open(path) as painted:
            values = np.asarray(painted)
            assert values.shape == image.size[::-1]
        assert set(np.unique(values)) <= {0, 1, 2, 3, 255}
    assert main(words) == 0
    assert "0 new" in capsys.readouterr().out
    assert main(["data", "paint", text, "--teacher", "small.onnx", "--out", "other"]) == 0  # all have masks
    assert "0 new" in capsys.readouterr().out


def test_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=1)
    assert main(["data", "paint", "--teacher", write_model()]) == 2
    assert "expected at least one data set" in capsys.readouterr().err
    assert main(["data", "paint", "voc:gone@train", "--teacher", "small.onnx"]) == 2
    assert "there is no folder gone" in capsys.readouterr().err
    Path("file").write_text("")
    assert main(["data", "paint", text, "--teacher", "small.onnx", "--out", "file/a"]) == 2
    assert "expected a folder to write to" in capsys.readouterr().err
