"""The commands of docs/tutorials/own-data.md run, on synthetic animals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.snippets import ROOT, commands, run_command, write_animals

COMMANDS = commands(ROOT / "docs" / "tutorials" / "own-data.md")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # warnings of libraries for training and export
def test_commands_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_animals()
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save("image.jpg")
    assert {words[1] for words in COMMANDS} == {"data", "train", "predict", "eval", "export"}
    for words in COMMANDS:
        run_command(words, "--freeze-bn", "all")
    for name in ("boxes.jpg", "masks.jpg", "predictions/image-class-map.png", "animals.onnx"):
        assert Path(name).exists()
