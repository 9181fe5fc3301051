from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.cli.main import main
from support.cli_datasets import TOY_SPEC, write_model, write_voc


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_images_with_boxes_only_get_pseudo_masks(capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=3)
    words = ["data", "pseudo-label", f"{text},masks=none", "--teacher", write_model(), "--out", "masks"]
    assert main(words) == 0
    assert capsys.readouterr().out == "pseudo-masks: masks   3 new   train with --pseudo-masks masks\n"
    assert Path("masks/classes.txt").read_text().split() == list(TOY_SPEC.classes)
    for path in Path("masks/voc-voc-train").glob("*.png"):
        with Image.open(Path("voc/JPEGImages") / path.name) as image, Image.open(path) as mask:
            values = np.asarray(mask)
            assert values.shape == image.size[::-1]
        assert set(np.unique(values)) <= {0, 1, 2, 3, 255}
    assert main(words) == 0
    assert "0 new" in capsys.readouterr().out
    assert main(["data", "pseudo-label", text, "--teacher", "small.onnx", "--out", "unused"]) == 0  # all have masks
    assert "0 new" in capsys.readouterr().out


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    text = write_voc(count=1)
    assert main(["data", "pseudo-label", "--teacher", write_model()]) == 2
    assert "expected at least one dataset" in capsys.readouterr().err
    assert main(["data", "pseudo-label", "voc:gone@train", "--teacher", "small.onnx"]) == 2
    assert "expected the folder gone" in capsys.readouterr().err
    Path("file").write_text("")
    assert main(["data", "pseudo-label", text, "--teacher", "small.onnx", "--out", "file/a"]) == 2
    assert "expected a writable output folder" in capsys.readouterr().err
