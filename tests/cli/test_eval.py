import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blitznet.cli.main import main
from support import synthetic_data
from support.cli_datasets import TOY_SPEC, write_model, write_voc
from support.without_torch import python


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and two sets."""
    monkeypatch.chdir(tmp_path)
    write_model()
    write_voc()
    synthetic_data.write_coco(Path("coco"), synthetic_data.draw(3, seed=1), outlines=False)
    return tmp_path


SETS = ("voc:voc@train", "coco:coco@train")


def scores(path: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(path).read_text())
    return values


def test_a_table_and_json_of_several_sets(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "small.onnx", "--data", *SETS, "--json", "deep/s.json", "--bootstrap", "5", "--coco"]) == 0
    found = scores("deep/s.json")
    assert found.keys() == {"images", "detection", "segmentation", "intervals", "sets"}
    assert found["detection"].keys() == {
        *("ap50_11point", "ap50_area", "ap50_pooled", "coco_ap", "coco_ap50", "calibration_error", "per_class"),
    }
    assert found["images"] == 7
    assert 0 <= found["detection"]["coco_ap"] <= found["detection"]["coco_ap50"] <= 1
    assert set(found["detection"]["per_class"]) <= set(synthetic_data.NAMES)
    assert set(found["segmentation"]["per_class"]) == {"background", *synthetic_data.NAMES}
    assert [found["sets"][text]["images"] for text in SETS] == [4, 3]
    assert found["sets"][SETS[1]]["segmentation"]["miou"] is None
    low, high = found["intervals"]["miou"]
    assert 0 <= low <= high <= 1
    said = capsys.readouterr()
    assert all(text in said.out for text in (*SETS, "all as one", "±"))
    assert said.out.splitlines()[-1].startswith("engine: openvino, float32, ")
    assert said.err == ""


def test_classes_one_by_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "small.onnx", "--data", SETS[0], "--per-class"]) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert rows == [SETS[0], "background", *synthetic_data.NAMES]


def test_results_are_scored_again_without_the_model(place: Path) -> None:
    first = ["eval", "small.onnx", "--data", *SETS, "--json", "a.json", "--results", "out/a.jsonl", "--bootstrap", "3"]
    assert main(first) == 0
    Path("small.onnx").unlink()
    assert main(["eval", "out/a.jsonl", "--data", *SETS, "--json", "b.json", "--bootstrap", "3"]) == 0
    assert scores("a.json") == scores("b.json")


def test_pixels_are_calibrated_if_asked(place: Path) -> None:
    assert main(["eval", "small.onnx", "--data", SETS[0], "--json", "a.json"]) == 0
    assert main(["eval", "small.onnx", "--data", SETS[0], "--json", "b.json", "--calibration"]) == 0
    assert scores("a.json")["segmentation"]["calibration_error"] is None
    assert 0 < scores("b.json")["segmentation"]["calibration_error"] < 1
    assert 0 < scores("a.json")["detection"]["calibration_error"] < 1


def test_one_task_of_two(place: Path) -> None:
    assert main(["eval", "small.onnx", "--data", SETS[0], "--json", "a.json", "--tasks", "segmentation"]) == 0
    assert scores("a.json")["detection"]["ap50_area"] is None
    assert scores("a.json")["segmentation"]["miou"] is not None


def test_a_model_of_boxes_only(place: Path) -> None:
    write_model("boxes.onnx", spec=replace(TOY_SPEC, tasks=("detection",)))
    assert main(["eval", "boxes.onnx", "--data", SETS[0], "--json", "a.json", "--results", "a.jsonl"]) == 0
    assert scores("a.json")["segmentation"] == {"miou": None, "calibration_error": None, "per_class": {}}
    assert json.loads(Path("a.jsonl").read_text().splitlines()[1])["class_map"] is None


def test_two_result_files_are_compared(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model("other.onnx", seed=1)
    for name in ("small", "other"):
        assert main(["eval", f"{name}.onnx", "--data", *SETS, "--results", f"{name}.jsonl"]) == 0
    capsys.readouterr()
    words = ["eval", "--compare", "small.jsonl", "other.jsonl", "--data", *SETS, "--json", "d.json", "--bootstrap", "4"]
    assert main(words) == 0
    found = scores("d.json")
    assert {"ap50_area", "miou"} <= found.keys()
    for one in found.values():
        assert one["difference"] == pytest.approx(one["second"] - one["first"])
    said = capsys.readouterr().out
    assert all(word in said for word in ("small.jsonl", "other.jsonl", "ahead by", "miou", "95 % interval"))


def test_names_that_are_not_the_models_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model("cats.onnx", spec=replace(TOY_SPEC, classes=("cat", "cross", "dog")))
    assert main(["eval", "cats.onnx", "--data", "voc:voc@train,void=square", SETS[1]]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "voc:voc@train,void=square: names unknown to the model, taken as background: ell",
        "voc:voc@train,void=square: names that count for nothing: square",
        "coco:coco@train: names unknown to the model, taken as background: ell, square",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small.onnx", "--data"], "expected at least one data set, for example "),
        (["small.onnx", "--data", "voc:gone@train"], "voc:gone@train: there is no folder gone"),
        (["small.onnx", "--data", "xml:voc"], "'xml:voc': expected FORMAT:ROOT@SPLIT"),
        (["small.onnx", "--data", SETS[0], SETS[0]], "voc:voc@train: the same data set is given twice; name each once"),
        (["gone.onnx", "--data", SETS[0]], "gone.onnx: there is no such model file"),
        (["gone.jsonl", "--data", SETS[0]], "gone.jsonl: cannot be read (No such file or directory)"),
        (
            ["small.onnx", "--data", SETS[0], "--tasks", "depth"],
            "--tasks: expected some of detection, segmentation, got",
        ),
        (["small.onnx", "--data", SETS[0], "--tasks"], "--tasks: the predictions are of detection and segmentation, "),
        (["small.onnx", "--data", SETS[0], "--json", "voc"], "voc: expected a file to write, got a folder"),
        (
            ["small.onnx", "--data", SETS[0], "--results", "small.onnx/a"],
            "small.onnx: expected a folder to write to, but",
        ),
        (
            ["a.jsonl", "--data", SETS[0], "--results", "b.jsonl"],
            "--results: expected a model to write the predictions",
        ),
        (
            ["small.onnx", "--data", SETS[0], "--compare", "a", "b"],
            "--compare: expected two result files only; leave out",
        ),
        (
            ["--report", "page", "--data", SETS[0], "--compare", "a", "b"],
            "--compare: expected two result files only; leave out",
        ),
        (["small.onnx", "--data", SETS[0], "--report", "small.onnx"], "small.onnx: expected a folder to write to, but"),
        (["small.onnx", "--data", SETS[0], "--threads", "0"], "threads: expected 1 or more, got 0"),
    ],
)
def test_mistakes(words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"blitznet: error: {message}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "flags", "message"),
    [
        ("defusedxml.common", [], "reading VOC annotations needs `pip install 'blitznet[data]'`"),
        ("faster_coco_eval", ["--coco"], "COCO's average precision needs `pip install 'blitznet[eval]'`"),
    ],
)
def test_what_is_missing_is_named(
    package: str,
    flags: list[str],
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["eval", "small.onnx", "--data", SETS[0], *flags]) == 2
    assert capsys.readouterr().err == f"blitznet: error: {message}\n"


def test_without_torch(place: Path) -> None:
    code = "import sys; from blitznet.cli.main import main; sys.exit(main(sys.argv[1:]))"
    assert SETS[0] in python(code, "eval", "small.onnx", "--data", SETS[0])


def test_a_page_that_shows_the_errors(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "small.onnx", "--data", *SETS, "--report", "deep/page", "--bootstrap", "3", "--results", "a.jsonl"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-2] == "page: deep/page/index.html"
    assert said.err == ""
    text = Path("deep/page/index.html").read_text()
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        *("Scores", "Kinds of error", "Precision and recall", "Confusion of boxes", "Sizes of objects"),
        *("Reliability of scores", "Confusion of pixels", "The worst images"),
    ]
    assert all(
        word in text for word in (*SETS, "all as one", "±", *synthetic_data.NAMES, "classification", "rule: devkit")
    )
    assert text.count("data:image/jpeg") == 2 * text.count("prediction for ")
    assert f"prediction for {SETS[1]} toy_0000" in text
    assert len(text) < 500_000

    Path("small.onnx").unlink()
    assert main(["eval", "a.jsonl", "--data", *SETS, "--report", "again", "--bootstrap", "3"]) == 0
    again = Path("again/index.html").read_text()
    assert re.sub("a.jsonl", "small.onnx", again) == re.sub(r"engine: [^·]* · ", "", text)


def test_a_page_of_one_task_and_one_set(place: Path) -> None:
    write_model("boxes.onnx", spec=replace(TOY_SPEC, tasks=("detection",)))
    assert main(["eval", "boxes.onnx", "--data", SETS[1], "--report", "."]) == 0
    text = Path("index.html").read_text()
    assert "Confusion of boxes" in text
    assert "Confusion of pixels" not in text
    assert "all as one" not in text


def test_a_page_without_the_images(place: Path) -> None:
    """A result file is scored without them; the page says which one is not there, and shows the rest."""
    assert main(["eval", "small.onnx", "--data", SETS[1], "--results", "a.jsonl"]) == 0
    Path("coco/train/toy_0000.png").unlink()
    assert main(["eval", "a.jsonl", "--data", SETS[1], "--report", "page"]) == 0
    text = Path("page/index.html").read_text()
    assert "coco/train/toy_0000.png: there is no such file" in text
    assert "prediction for toy_0001" in text


def test_a_page_of_a_class_with_a_name_like_markup(place: Path) -> None:
    names = ("<b>", *synthetic_data.NAMES[1:])
    for path in (*Path("voc/Annotations").glob("*.xml"), Path("voc/classes.txt")):
        path.write_text(path.read_text().replace("cross", "&lt;b&gt;" if path.suffix == ".xml" else "<b>"))
    write_model("evil.onnx", spec=replace(TOY_SPEC, classes=names))
    assert main(["eval", "evil.onnx", "--data", SETS[0], "--report", "page"]) == 0
    text = Path("page/index.html").read_text()
    assert '<th scope="row">&lt;b&gt;</th>' in text
    assert "<b>" not in text
