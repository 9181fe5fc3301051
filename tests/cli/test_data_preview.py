from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from blitznet.cli.main import main
from blitznet.core.arrays import RGBArray
from support import synthetic_data
from support.cli_datasets import write_voc


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_voc()
    return tmp_path


def sheet(*words: str) -> RGBArray:
    assert main(["data", "show", "voc:voc@train", "--out", "deep/sheet.png", "--size", "96", *words]) == 0
    with Pillow.open("deep/sheet.png") as image:
        return np.array(image)


def test_one_tile_a_image(capsys: pytest.CaptureFixture[str]) -> None:
    shown = sheet("--columns", "3")
    assert shown.shape == (2 * (96 + 34) + 10, 3 * (96 + 10) + 10, 3)
    assert capsys.readouterr().out == "4 images: deep/sheet.png\n"
    assert sheet("--columns", "3", "--count", "3").shape[0] == 96 + 34 + 10


def test_without_squeezing() -> None:
    assert sheet("--policy", "none", "--count", "1").shape[:2] == (77 + 34 + 10, 96 + 10 + 10)


@pytest.mark.parametrize("policy", ["plain", "ssd", "blitznet", "light"])
def test_policies_as_the_seed_has_it(policy: str) -> None:
    first = sheet("--policy", policy)
    np.testing.assert_array_equal(first, sheet("--policy", policy))
    assert (first == sheet("--policy", policy, "--seed", "1")).all() == (policy == "plain")
    assert (first == sheet()).all() == (policy == "plain")


def test_the_truth_is_drawn_on() -> None:
    shown = sheet("--policy", "none", "--size", "120", "--columns", "1")
    drawing = synthetic_data.draw(4)[0]
    tile = shown[10 + 24 : 10 + 24 + 96, 10 : 10 + 120]
    changed = np.abs(tile.astype(int) - drawing.image).max(2) > 20
    assert changed[drawing.class_map > 0].mean() > 0.5
    assert changed[drawing.class_map == 0].mean() < 0.5


def test_images_of_several_sets_alike(capsys: pytest.CaptureFixture[str]) -> None:
    text = synthetic_data.write_yolo(Path("yolo"), synthetic_data.draw(9, seed=2))
    assert main(["data", "show", "voc:voc@train", text, "--count", "5", "--size", "32", "--out", "a.jpg"]) == 0
    assert capsys.readouterr().out == "5 images: a.jpg\n"
    assert Path("a.jpg").stat().st_size > 1000


def test_a_models_classes(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.txt").write_text("square\nell\n")
    sheet("--classes", "mine.txt")
    expected = "voc:voc@train: names unknown to the model, taken as background: cross\n"
    assert capsys.readouterr().err == expected


def test_a_broken_image_keeps_no_other_from_the_sheet(capsys: pytest.CaptureFixture[str]) -> None:
    Path("voc/JPEGImages/toy_0001.png").write_bytes(b"broken")
    assert main(["data", "show", "voc:voc@train", "--size", "32"]) == 1
    said = capsys.readouterr()
    assert said.out == "3 images: blitznet-data.jpg\n"
    assert said.err.startswith("blitznet: error: voc/JPEGImages/toy_0001.png: not an image of a known format")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected at least one data set, for example"),
        (["voc:gone@train"], "voc:gone@train: there is no folder gone"),
        (["voc:voc@train", "--count", "0"], "--count: expected 1 to 2000, got 0"),
        (["voc:voc@train", "--columns", "0"], "--columns: expected 1 to 100, got 0"),
        (["voc:voc@train", "--size", "5000"], "--size: expected 32 to 2048, got 5000"),
        (["voc:voc@train", "--seed", "-1"], "--seed: expected 0 or more, got -1"),
        (["voc:voc@train", "--out", "a.txt"], "--out: expected a picture (.jpg, .jpeg, .png, .webp), got a.txt"),
        (["voc:voc@train", "--out", "voc/classes.txt/a.jpg"], "voc/classes.txt: expected a folder to write to, but"),
        (["voc:voc@train", "--classes", "voc"], "voc:voc@train: none of its classes (cross, ell, square) is one of"),
    ],
)
def test_mistakes(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"blitznet: error: {message}")
    assert said.count("\n") == 1


def test_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("voc/JPEGImages").iterdir():
        path.write_bytes(b"broken")
    assert main(["data", "show", "voc:voc@train"]) == 2
    assert capsys.readouterr().err.endswith("blitznet: error: voc:voc@train: there is no image to show\n")
