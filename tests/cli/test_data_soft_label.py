from pathlib import Path

import pytest

from blitznet.cli.main import main
from blitznet.data.soft_labels import read_soft_labels
from support.cli_datasets import TOY_SPEC, write_model, write_voc


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_images_get_soft_labels(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "soft-label", write_voc(count=3), "--teacher", write_model(), "--out", "soft"]
    assert main(words) == 0
    assert capsys.readouterr().out == "soft labels: soft   3 new   train with --soft-labels soft\n"
    assert Path("soft/classes.txt").read_text().split() == list(TOY_SPEC.classes)
    files = list(Path("soft").rglob("*.npz"))
    assert len(files) == 3
    assert len(read_soft_labels(files[0]).logits) == len(TOY_SPEC.classes) + 1
    assert main(words) == 0
    assert "0 new" in capsys.readouterr().out


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "soft-label", "--teacher", write_model()]) == 2
    assert "expected at least one dataset" in capsys.readouterr().err
    assert main(["data", "soft-label", write_voc(count=1), "--teacher", "gone.onnx"]) == 2
    assert "gone.onnx" in capsys.readouterr().err
