import hashlib
import json
from pathlib import Path

import pytest
import torch

from blitznet.cli.main import main
from blitznet.nets.blitznet import build
from blitznet.nets.model_files import save_model
from support import synthetic_data
from support.cli_datasets import write_model, write_voc
from support.small_networks import small_spec, trained


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model."""
    monkeypatch.chdir(tmp_path)
    write_model()
    return tmp_path


def test_what_a_file_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "small.onnx"]) == 0
    said = capsys.readouterr().out
    assert hashlib.sha256(Path("small.onnx").read_bytes()).hexdigest() in said
    rows = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert rows["name"].strip() == "small"
    assert rows["classes"].startswith(f"{len(synthetic_data.NAMES)}: {', '.join(synthetic_data.NAMES)}")
    assert "parameters" not in rows


def test_trained_values_are_counted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = build(small_spec())
    save_model(Path("net.safetensors"), net, small_spec(), dtype=torch.float16)
    assert main(["info", "net.safetensors"]) == 0
    assert f"parameters  {trained(net) / 1e6:.2f} million" in capsys.readouterr().out


def test_a_card_of_what_the_commands_wrote(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc()
    assert main(["eval", "small.onnx", "--data", "voc:voc@train", "--json", "scores.json", "--bootstrap", "5"]) == 0
    assert main(["bench", "small.onnx", "--rounds", "1", "--json", "bench.json"]) == 0
    Path("notes.md").write_text("## Known failures\n\nEverything.")
    Path("again.onnx").write_bytes(Path("small.onnx").read_bytes())
    files = ["--files", "small.onnx", "again.onnx"]  # the model's own is told once
    words = ["--scores", "scores.json", "--speed", "bench.json", "--notes", "notes.md", *files]
    image = str(next(Path("voc", "JPEGImages").iterdir()))
    assert main(["info", "small.onnx", "--card", "cards/small.md", *words, "--images", image]) == 0
    said = Path("cards/small.md").read_text()
    digest = hashlib.sha256(Path("small.onnx").read_bytes()).hexdigest()
    assert said.count(digest) == 2
    assert "again.onnx" in said
    total = json.loads(Path("scores.json").read_text())["detection"]["ap50_area"]
    assert f"| all as one | 4 | {100 * total:.1f} (" in said
    assert "## Speed" in said
    assert "## Known failures\n\nEverything." in said
    picture = said.rpartition("![")[2].partition("]")[0]
    assert (Path("cards") / picture).stat().st_size > 1000
    assert capsys.readouterr().out.endswith("card: cards/small.md\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["small.onnx", "--notes", "notes.md"], "are for a card; name one with --card FILE.md"),
        (["small.onnx", "--card", "c.md", "--notes", "gone.md"], "gone.md: cannot be read"),
        (
            ["small.onnx", "--card", "c.md", "--scores", "list.json"],
            "list.json: expected what `blitznet eval --json` wrote",
        ),
        (
            ["small.onnx", "--card", "c.md", "--speed", "old.json"],
            "old.json: was written by an older blitznet, which timed",
        ),
        (["small.onnx", "--card", "c.md", "--speed", "small.onnx"], "small.onnx: cannot be read"),
        (["small.onnx", "--card", "c.md", "--files", "list.json"], "list.json: expected an .onnx"),
        (["gone.onnx"], "gone.onnx: there is no such model file"),
    ],
)
def test_misuse_is_one_line(place: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.json").write_text("[1]")
    Path("old.json").write_text('{"rows": [{"engine": "x"}], "machine": {}, "image_size": "1x1", "date": "2026"}')
    assert main(["info", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not Path("c.md").exists()
