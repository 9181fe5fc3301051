"""The commands of docs/own-data.md run, on drawn animals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.snippets import ROOT, animals, commands, run

COMMANDS = commands(ROOT / "docs" / "own-data.md")


@pytest.mark.filterwarnings("default")  # of libraries that training and export bring
def test_commands_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    animals()
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save("image.jpg")
    assert {words[1] for words in COMMANDS} == {"data", "train", "predict", "eval", "export"}
    for words in COMMANDS:
        run(words, "--freeze-statistics")
    for name in ("boxes.jpg", "masks.jpg", "seen/image-mask.png", "animals.onnx"):
        assert Path(name).exists()
