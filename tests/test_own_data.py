"""The commands of docs/own-data.md run, on drawn animals."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import toy
from blitznet.cli.main import main

PAGE = Path(__file__).parents[1] / "docs" / "own-data.md"
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line) for text in BLOCKS for line in text.splitlines()]


@pytest.mark.filterwarnings("default")  # of libraries that training and export bring
def test_commands_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawings = toy.draw(10)
    toy.write_coco(Path("animals/boxes"), drawings[:5], "train", outlines=False)
    toy.write_folder(Path("animals/masks"), drawings[5:])
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save("photo.jpg")
    assert {words[1] for words in COMMANDS} == {"data", "train", "predict", "eval", "export"}
    for words in COMMANDS:
        assert words[0] == "blitznet"
        shorter = (
            ["--steps", "2", "--batch", "2", "--workers", "0", "--freeze-statistics"] if words[1] == "train" else []
        )
        assert main([*words[1:], *shorter]) == 0, (words, capsys.readouterr())
    for name in ("boxes.jpg", "masks.jpg", "seen/photo-mask.png", "animals.onnx"):
        assert Path(name).exists()
