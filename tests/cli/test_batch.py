import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from blitznet.api import load
from blitznet.bulk.progress import BulkProgress
from blitznet.cli.batch import describe
from blitznet.cli.main import main
from support.bulk import contents, parts, read_rows, write_images
from support.fake_engines import write_onnx
from support.without_torch import python


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model file and five images in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("small.onnx"))
    write_images(Path("images"), 5)
    return "small.onnx"


def test_batch_writes_parts(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["batch", "images", "--model", model, "--out", "out", "--shard-size", "2", "--engine", "onnxruntime"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert output.startswith("parts: out   3 parts, 5 images   5 predicted in this run, ")
    assert output.endswith(" images/s\n")
    rows = read_rows(Path("out"))
    assert [row["id"] for row in rows] == [f"images/{number:04}.png" for number in range(5)]
    for row in rows:
        expected = load(model, engine="onnxruntime", threads=1)(row["id"])
        assert row["labels"] == expected.labels.tolist()
    before = contents(Path("out"))
    assert main(words) == 0
    assert capsys.readouterr().out == "parts: out   3 parts, 5 images   0 predicted in this run\n"
    assert contents(Path("out")) == before


def test_the_exit_code_of_a_run_with_errors(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images/0002.png").write_bytes(b"broken")
    assert main(["batch", "images", "--model", model, "--out", "out"]) == 1
    assert "5 images, 1 cannot be read" in capsys.readouterr().out
    assert read_rows(Path("out"))[2]["error"].startswith("images/0002.png: not an image of a known format")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected an image, a folder, a list or a URL, got nothing"),
        (["gone"], "gone: expected an image, a folder, a list or a glob, got a path that does not exist"),
        (["images", "--shard-size", "0"], "shard_size: expected 1 or more, got 0"),
        (["images", "--limit", "0"], "limit: expected 1 or more, got 0"),
        (["images", "--workers", "0"], "workers: expected 1 or more, got 0"),
        (["images", "--min-score", "2"], "min_score: expected 0 to 1, got 2.0"),
        (["images", "--slices", "2"], "--slices: expected ROWSxCOLUMNS such as 2x3, got '2'"),
        (["images", "--model", "gone.onnx"], "gone.onnx: expected a model file"),
    ],
)
def test_errors_of_one_line(words: list[str], message: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", *words, *([] if "--model" in words else ["--model", model]), "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("blitznet: error: ")
    assert message in error
    assert len(error.splitlines()) == 1
    assert parts(Path("out")) == []


def test_progress_in_one_line() -> None:
    state = BulkProgress(done=1200, total=50_000, predicted=1000, seconds=10)
    assert describe(state) == f"1,200 of 50,000 images, 100.0 images/s, {timedelta(seconds=488)} left"
    assert describe(BulkProgress(1200, None, 0, 10)) == "1,200 images"


def test_lines_of_progress_without_a_terminal(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blitznet.cli.console._LINE_SECONDS", 0.0)
    assert main(["batch", "images", "--model", model, "--out", "out", "--shard-size", "2"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("images: 5")
    assert "images/s" in lines[-1]
    assert main(["-q", "batch", "images", "--model", model, "--out", "quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")
def test_an_address_without_a_cluster_is_one_line(model: str) -> None:
    words = ["batch", "images", "--model", model, "--engine", "onnxruntime", "--out", "out", "--ray", "127.0.0.1:1"]
    done = subprocess.run([sys.executable, "-m", "blitznet", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("blitznet: error: --ray: expected the address of a Ray cluster such as ")
    assert done.stderr.endswith("got '127.0.0.1:1' (Connection refused)\n")
    assert len(done.stderr.splitlines()) == 1  # Ray itself prints warnings for minutes


@pytest.mark.parametrize("package", ["pyarrow", "ray"])
def test_missing_packages_are_one_line(package: str, model: str) -> None:
    words = ["batch", "images", "--model", model, "--out", "out", *(["--ray", "local"] if package == "ray" else [])]
    code = f"""
import sys
sys.modules["{package}"] = None
from blitznet.cli.main import main
print(main({words}))
"""
    output = python(code)
    assert output.strip().splitlines()[-1] == "2"
