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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model and two sets."""
    monkeypatch.chdir(tmp_path)
    write_model()
    write_voc()
    synthetic_data.write_coco(Path("coco"), synthetic_data.draw(3, seed=1), outlines=False)
    return tmp_path


SETS = ("voc:voc@train", "coco:coco@train")
NOTICE = (
    "coco:coco@train: 1 of 3 images have no label and count as images without objects; unlabelled=skip leaves them out"
)


def read_json(path: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(path).read_text())
    return values


def test_table_and_json_of_several_sets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "small.onnx", "--data", *SETS, "--json", "deep/s.json", "--bootstrap", "5", "--coco"]) == 0
    values = read_json("deep/s.json")
    assert values.keys() == {"images", "detection", "segmentation", "intervals", "sets"}
    assert values["detection"].keys() == {
        *("ap50_11point", "ap50_area", "ap50_frequent", "coco_ap", "coco_ap50", "calibration_error", "per_class"),
    }
    assert values["images"] == 7
    assert 0 <= values["detection"]["coco_ap"] <= values["detection"]["coco_ap50"] <= 1
    assert set(values["detection"]["per_class"]) <= set(synthetic_data.NAMES)
    assert set(values["segmentation"]["per_class"]) == {"background", *synthetic_data.NAMES}
    assert [values["sets"][text]["images"] for text in SETS] == [4, 3]
    assert values["sets"][SETS[1]]["segmentation"]["miou"] is None
    low, high = values["intervals"]["miou"]
    assert 0 <= low <= high <= 1
    captured = capsys.readouterr()
    assert all(text in captured.out for text in (*SETS, "all sets", "in brackets: 95 % intervals"))
    assert captured.out.splitlines()[-1].startswith("engine: openvino, float32, ")
    assert captured.err == f"{NOTICE}\n"


def test_per_class_prints_a_row_for_each_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "small.onnx", "--data", SETS[0], "--per-class"]) == 0
    rows = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert rows == [SETS[0], "background", *synthetic_data.NAMES]


def test_result_file_is_evaluated_without_the_model(folder: Path) -> None:
    first = ["eval", "small.onnx", "--data", *SETS, "--json", "a.json", "--results", "out/a.jsonl", "--bootstrap", "3"]
    assert main(first) == 0
    Path("small.onnx").unlink()
    assert main(["eval", "out/a.jsonl", "--data", *SETS, "--json", "b.json", "--bootstrap", "3"]) == 0
    assert read_json("a.json") == read_json("b.json")


def test_calibration_error_of_pixels_is_optional(folder: Path) -> None:
    assert main(["eval", "small.onnx", "--data", SETS[0], "--json", "a.json"]) == 0
    assert main(["eval", "small.onnx", "--data", SETS[0], "--json", "b.json", "--calibration"]) == 0
    assert read_json("a.json")["segmentation"]["calibration_error"] is None
    assert 0 < read_json("b.json")["segmentation"]["calibration_error"] < 1
    assert 0 < read_json("a.json")["detection"]["calibration_error"] < 1


def test_tasks_are_selected(folder: Path) -> None:
    assert main(["eval", "small.onnx", "--data", SETS[0], "--json", "a.json", "--tasks", "segmentation"]) == 0
    assert read_json("a.json")["detection"]["ap50_area"] is None
    assert read_json("a.json")["segmentation"]["miou"] is not None


def test_model_without_segmentation(folder: Path) -> None:
    write_model("boxes.onnx", spec=replace(TOY_SPEC, tasks=("detection",)))
    assert main(["eval", "boxes.onnx", "--data", SETS[0], "--json", "a.json", "--results", "a.jsonl"]) == 0
    assert read_json("a.json")["segmentation"] == {"miou": None, "calibration_error": None, "per_class": {}}
    assert json.loads(Path("a.jsonl").read_text().splitlines()[1])["class_map"] is None


def test_compare_two_result_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model("other.onnx", seed=1)
    for name in ("small", "other"):
        assert main(["eval", f"{name}.onnx", "--data", *SETS, "--results", f"{name}.jsonl"]) == 0
    capsys.readouterr()
    words = ["eval", "--compare", "small.jsonl", "other.jsonl", "--data", *SETS, "--json", "d.json", "--bootstrap", "4"]
    assert main(words) == 0
    values = read_json("d.json")
    assert {"ap50_area", "miou"} <= values.keys()
    for row in values.values():
        assert row["difference"] == pytest.approx(row["second"] - row["first"])
    output = capsys.readouterr().out
    assert all(word in output for word in ("small.jsonl", "other.jsonl", "difference", "miou", "95 % interval"))


def test_class_names_unknown_to_the_model_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model("cats.onnx", spec=replace(TOY_SPEC, classes=("cat", "cross", "dog")))
    assert main(["eval", "cats.onnx", "--data", "voc:voc@train,ignore=square", SETS[1]]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert NOTICE in lines
    assert [(line.partition(": ")[0], line.rpartition(": ")[2]) for line in lines if line != NOTICE] == [
        ("voc:voc@train,ignore=square", "ell"),
        ("voc:voc@train,ignore=square", "square"),
        ("coco:coco@train", "ell, square"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small.onnx", "--data"], "expected at least one dataset, got none; for example "),
        (["small.onnx", "--data", "voc:gone@train"], "voc:gone@train: expected the folder gone"),
        (["small.onnx", "--data", "xml:voc"], "'xml:voc': expected FORMAT:ROOT@SPLIT"),
        (
            ["small.onnx", "--data", SETS[0], SETS[0]],
            "voc:voc@train: expected each dataset once, got it twice; remove one",
        ),
        (["gone.onnx", "--data", SETS[0]], "gone.onnx: expected a model file, got a path that does not exist"),
        (["gone.jsonl", "--data", SETS[0]], "gone.jsonl: cannot be read (No such file or directory)"),
        (
            ["small.onnx", "--data", SETS[0], "--tasks", "depth"],
            "--tasks: expected some of detection, segmentation, got",
        ),
        (
            ["small.onnx", "--data", SETS[0], "--tasks"],
            "--tasks: expected detection or segmentation for these predictions, got no task",
        ),
        (["small.onnx", "--data", SETS[0], "--json", "voc"], "voc: expected a file to write, got a folder"),
        (
            ["small.onnx", "--data", SETS[0], "--results", "small.onnx/a"],
            "small.onnx: expected a writable output folder, got",
        ),
        (
            ["a.jsonl", "--data", SETS[0], "--results", "b.jsonl"],
            "--results: expected a model, got a result file; leave",
        ),
        (
            ["small.onnx", "--data", SETS[0], "--compare", "a", "b"],
            "--compare: expected two result files only; leave out",
        ),
        (
            ["--html-report", "page", "--data", SETS[0], "--compare", "a", "b"],
            "--compare: expected two result files only; leave out",
        ),
        (
            ["small.onnx", "--data", SETS[0], "--html-report", "small.onnx"],
            "small.onnx: expected a writable output folder, got",
        ),
        (["small.onnx", "--data", SETS[0], "--threads", "0"], "threads: expected 1 or more, got 0"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"blitznet: error: {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("package", "flags", "message"),
    [
        ("defusedxml.common", [], "reading XML annotations needs `pip install 'blitznet[data]'`"),
        ("faster_coco_eval", ["--coco"], "COCO's average precision needs `pip install 'blitznet[eval]'`"),
    ],
)
def test_missing_package_is_named(
    package: str,
    flags: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["eval", "small.onnx", "--data", SETS[0], *flags]) == 2
    assert capsys.readouterr().err == f"blitznet: error: {message}\n"


def test_without_torch(folder: Path) -> None:
    code = "import sys; from blitznet.cli.main import main; sys.exit(main(sys.argv[1:]))"
    assert SETS[0] in python(code, "eval", "small.onnx", "--data", SETS[0])


def test_html_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "eval",
        "small.onnx",
        "--data",
        *SETS,
        "--html-report",
        "deep/page",
        "--bootstrap",
        "3",
        "--results",
        "a.jsonl",
    ]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-2] == "page: deep/page/index.html"
    assert captured.err == f"{NOTICE}\n"
    text = Path("deep/page/index.html").read_text()
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        *("Scores", "Error types", "Precision and recall", "Confusion of boxes", "Sizes of objects"),
        *("Reliability of scores", "Confusion of pixels", "The worst images"),
    ]
    assert all(
        word in text for word in (*SETS, "all sets", " to ", *synthetic_data.NAMES, "classification", "rule: devkit")
    )
    assert text.count("data:image/jpeg") == 2 * text.count("prediction for ")
    assert f"prediction for {SETS[1]} toy_0000" in text
    assert len(text) < 500_000

    Path("small.onnx").unlink()
    assert main(["eval", "a.jsonl", "--data", *SETS, "--html-report", "again", "--bootstrap", "3"]) == 0
    again = Path("again/index.html").read_text()
    assert re.sub("a.jsonl", "small.onnx", again) == re.sub(r"engine: [^·]* · ", "", text)


def test_html_report_of_one_task_and_one_set(folder: Path) -> None:
    write_model("boxes.onnx", spec=replace(TOY_SPEC, tasks=("detection",)))
    assert main(["eval", "boxes.onnx", "--data", SETS[1], "--html-report", "."]) == 0
    text = Path("index.html").read_text()
    assert "Confusion of boxes" in text
    assert "Confusion of pixels" not in text
    assert "all sets" not in text


def test_html_report_with_missing_images(folder: Path) -> None:
    """A result file is evaluated without its images; the page names the missing one and shows the others."""
    assert main(["eval", "small.onnx", "--data", SETS[1], "--results", "a.jsonl"]) == 0
    Path("coco/train/toy_0000.png").unlink()
    assert main(["eval", "a.jsonl", "--data", SETS[1], "--html-report", "page"]) == 0
    text = Path("page/index.html").read_text()
    assert "coco/train/toy_0000.png: expected a file, got a path that does not exist" in text
    assert "prediction for toy_0001" in text


def test_html_report_escapes_class_names(folder: Path) -> None:
    names = ("<b>", *synthetic_data.NAMES[1:])
    for path in (*Path("voc/Annotations").glob("*.xml"), Path("voc/classes.txt")):
        path.write_text(path.read_text().replace("cross", "&lt;b&gt;" if path.suffix == ".xml" else "<b>"))
    write_model("evil.onnx", spec=replace(TOY_SPEC, classes=names))
    assert main(["eval", "evil.onnx", "--data", SETS[0], "--html-report", "page"]) == 0
    text = Path("page/index.html").read_text()
    assert '<th scope="row">&lt;b&gt;</th>' in text
    assert "<b>" not in text
