from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.cli.main import main
from blitznet.core.arrays import RGBArray
from blitznet.data.augment import POLICIES
from support import synthetic_data
from support.cli_datasets import write_voc


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_voc()
    return tmp_path


def preview(*words: str, imgsz: str = "96") -> RGBArray:
    sizes = imgsz.split()
    assert main(["data", "preview", "voc:voc@train", "--out", "deep/sheet.png", "--imgsz", *sizes, *words]) == 0
    with Image.open("deep/sheet.png") as image:
        return np.array(image)


def test_sheet_has_one_tile_per_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert preview("--columns", "3").shape == (2 * (96 + 34) + 10, 3 * (96 + 10) + 10, 3)
    assert capsys.readouterr().out == "4 images: deep/sheet.png\n"
    assert preview("--columns", "3", "--count", "3").shape[0] == 96 + 34 + 10


def test_imgsz_may_be_height_and_width() -> None:
    assert preview("--columns", "1", "--count", "1", imgsz="64 128").shape[:2] == (64 + 34 + 10, 128 + 10 + 10)


def test_policy_none_keeps_the_aspect_ratio() -> None:
    assert preview("--policy", "none", "--count", "1").shape[:2] == (77 + 34 + 10, 96 + 10 + 10)


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_depend_on_the_seed_only(policy: str) -> None:
    first = preview("--policy", policy)
    np.testing.assert_array_equal(first, preview("--policy", policy))
    assert np.array_equal(first, preview("--policy", policy, "--seed", "1")) == (policy == "plain")
    assert np.array_equal(first, preview()) == (policy == "plain")


@pytest.mark.parametrize("flag", ["--mosaic", "--copy-paste"])
def test_mixing_depends_on_the_seed_only(flag: str) -> None:
    first = preview(flag, "1")
    np.testing.assert_array_equal(first, preview(flag, "1"))
    assert not np.array_equal(first, preview(flag, "1", "--seed", "1"))
    assert not np.array_equal(first, preview())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mosaic", "2"], "--mosaic: expected a probability from 0 to 1, got 2.0"),
        (["--copy-paste", "-1"], "--copy-paste: expected a probability from 0 to 1, got -1.0"),
        (["--mosaic", "1", "--policy", "none"], "--policy none: expected no --mosaic and no --copy-paste, got one"),
    ],
)
def test_mixing_that_is_not_possible_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "preview", "voc:voc@train", *words]) == 2
    assert message in capsys.readouterr().err


def test_annotations_are_drawn() -> None:
    sheet = preview("--policy", "none", "--columns", "1", imgsz="120")
    drawing = synthetic_data.draw(4)[0]
    tile = sheet[10 + 24 : 10 + 24 + 96, 10 : 10 + 120]
    changed = np.abs(tile.astype(int) - drawing.image).max(2) > 20
    assert changed[drawing.class_map > 0].mean() > 0.5
    assert changed[drawing.class_map == 0].mean() < 0.5


def test_several_datasets_contribute_equally(capsys: pytest.CaptureFixture[str]) -> None:
    text = synthetic_data.write_yolo(Path("yolo"), synthetic_data.draw(9, seed=2))
    assert main(["data", "preview", "voc:voc@train", text, "--count", "5", "--imgsz", "32", "--out", "a.jpg"]) == 0
    assert capsys.readouterr().out == "5 images: a.jpg\n"
    assert Path("a.jpg").stat().st_size > 1000


def test_class_names_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.txt").write_text("square\nell\n")
    preview("--class-names", "mine.txt")
    expected = "voc:voc@train: classes unknown to the model, used as background: cross\n"
    assert capsys.readouterr().err == expected


def test_a_broken_image_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    Path("voc/JPEGImages/toy_0001.png").write_bytes(b"broken")
    assert main(["data", "preview", "voc:voc@train", "--imgsz", "32"]) == 1
    output = capsys.readouterr()
    assert output.out == "3 images: blitznet-data.jpg\n"
    assert output.err.startswith("blitznet: error: voc/JPEGImages/toy_0001.png: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected at least one dataset, got none; for example"),
        (["voc:gone@train"], "voc:gone@train: expected the folder gone"),
        (["voc:voc@train", "voc:voc@train"], "voc:voc@train: expected each dataset once, got it twice; remove one"),
        (["voc:voc@train", "--count", "0"], "--count: expected 1 to 2000, got 0"),
        (["voc:voc@train", "--columns", "0"], "--columns: expected 1 to 100, got 0"),
        (["voc:voc@train", "--imgsz", "5000"], "--imgsz: expected 32 to 2048 pixels, got 5000 5000"),
        (["voc:voc@train", "--imgsz", "64", "16"], "--imgsz: expected 32 to 2048 pixels, got 64 16"),
        (["voc:voc@train", "--seed", "-1"], "--seed: expected 0 or more, got -1"),
        (["voc:voc@train", "--out", "a.txt"], "--out: expected an image file (.jpg, .jpeg, .png, .webp), got a.txt"),
        (["voc:voc@train", "--out", "voc/classes.txt/a.jpg"], "voc/classes.txt: expected a writable output folder"),
        (["voc:voc@train", "--class-names", "voc"], "voc:voc@train: expected a class of the model (aeroplane, "),
    ],
)
def test_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "preview", *words]) == 2
    output = capsys.readouterr().err
    assert output.startswith(f"blitznet: error: {message}")
    assert output.count("\n") == 1


def test_no_readable_image_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("voc/JPEGImages").iterdir():
        path.write_bytes(b"broken")
    assert main(["data", "preview", "voc:voc@train"]) == 2
    assert capsys.readouterr().err.endswith("blitznet: error: voc:voc@train: expected an image to draw, got none\n")
