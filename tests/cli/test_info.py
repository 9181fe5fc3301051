import hashlib
import json
from pathlib import Path

import pytest
import torch

from blitznet.cli.main import main
from blitznet.core.packaged_files import packaged_hashes
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from support import synthetic_data
from support.cli_datasets import write_model, write_voc
from support.small_networks import num_parameters, small_spec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    write_model()
    return tmp_path


def test_info_prints_the_spec(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "small.onnx"]) == 0
    output = capsys.readouterr().out
    assert hashlib.sha256(Path("small.onnx").read_bytes()).hexdigest() in output
    rows = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert rows["name"].strip() == "small"
    assert rows["classes"].startswith(f"{len(synthetic_data.NAMES)}: {', '.join(synthetic_data.NAMES)}")
    assert rows["calibration"].startswith("Platt scaling, temperature 1, bias +0; segmentation temperature 1")
    assert rows["published"].strip() == "no"
    assert "parameters" not in rows


def test_info_of_a_published_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["published"].strip() == "yes"
    assert rows["sha256"].strip() == packaged_hashes()["blitznet300-lite.onnx"]


def test_parameters_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = build(small_spec())
    save_model(Path("net.safetensors"), net, small_spec(), dtype=torch.float16)
    assert main(["info", "net.safetensors"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["parameters"].strip() == f"{num_parameters(net) / 1e6:.2f} million"


def test_card_with_the_output_of_other_commands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc()
    assert main(["eval", "small.onnx", "--data", "voc:voc@train", "--json", "scores.json", "--bootstrap", "5"]) == 0
    assert main(["bench", "small.onnx", "--rounds", "1", "--json", "bench.json"]) == 0
    Path("notes.md").write_text("## Known failures\n\nEverything.")
    Path("again.onnx").write_bytes(Path("small.onnx").read_bytes())
    files = ["--files", "small.onnx", "again.onnx"]  # the model's own file is listed once
    words = ["--scores", "scores.json", "--speed", "bench.json", "--notes", "notes.md", *files]
    image = str(next(Path("voc", "JPEGImages").iterdir()))
    assert main(["info", "small.onnx", "--card", "cards/small.md", *words, "--images", image]) == 0
    text = Path("cards/small.md").read_text()
    digest = hashlib.sha256(Path("small.onnx").read_bytes()).hexdigest()
    assert text.count(digest) == 2
    assert "again.onnx" in text
    total = json.loads(Path("scores.json").read_text())["detection"]["ap50_area"]
    assert f"| all sets | 4 | {100 * total:.1f} (" in text
    assert "## Speed" in text
    assert "## Known failures\n\nEverything." in text
    image_name = text.rpartition("![")[2].partition("]")[0]
    assert (Path("cards") / image_name).stat().st_size > 1000
    assert capsys.readouterr().out.endswith("card: cards/small.md\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small.onnx", "--notes", "notes.md"], "expected --card FILE.md with them, got none; add it"),
        (["small.onnx", "--card", "c.md", "--notes", "gone.md"], "gone.md: cannot be read"),
        (
            ["small.onnx", "--card", "c.md", "--scores", "list.json"],
            "list.json: expected the JSON of `blitznet eval --json` with images, detection, got",
        ),
        (
            ["small.onnx", "--card", "c.md", "--speed", "old.json"],
            "old.json: expected timings of streams, got a file of an older version",
        ),
        (["small.onnx", "--card", "c.md", "--speed", "small.onnx"], "small.onnx: cannot be read"),
        (["small.onnx", "--card", "c.md", "--files", "list.json"], "list.json: expected an .onnx"),
        (["gone.onnx"], "gone.onnx: expected a model file, got a path that does not exist"),
    ],
)
def test_errors_are_one_line(folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.json").write_text("[1]")
    Path("old.json").write_text('{"rows": [{"engine": "x"}], "machine": {}, "image_size": "1x1", "date": "2026"}')
    assert main(["info", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("c.md").exists()
