"""What labeling tools export, from `data check` to `predict`, without naming the format."""

from pathlib import Path

import pytest

from blitznet.cli.main import main
from support import synthetic_data
from support.exports import EXPORTS, Export


@pytest.mark.slow
@pytest.mark.parametrize("export", EXPORTS.values(), ids=list(EXPORTS))
def test_exports_are_checked_trained_on_evaluated_and_predicted(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    drawings = synthetic_data.draw(12, size=(64, 80))
    export.write(Path("set"), [*drawings[-1:], *drawings[:-1]])
    assert main(["data", "check", "set"]) == 0
    training = ["--data", "set", *([] if export.splits else ["--val", "0.3"])]
    length = ["--steps", "20", "--batch", "4", "--workers", "0", "--imgsz", "64", "--loggers", "tensorboard"]
    assert main(["train", *training, *length, "--out", "run"]) == 0
    evaluated = "set" if export.splits else "set,part=val+0.3"
    assert main(["eval", "run", "--data", evaluated]) == 0
    synthetic_data.write_image(Path("image.png"), drawings[0])
    assert main(["predict", "image.png", "--model", "run", "--out", "predictions"]) == 0
    output = capsys.readouterr()
    assert export.name in output.out + output.err
    assert Path("run/last.safetensors").is_file()
    assert Path("predictions/predictions.json").is_file()
