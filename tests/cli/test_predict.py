import json
import sys
import warnings
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.api import load
from blitznet.cli.formats import FormatWriter
from blitznet.cli.main import main
from blitznet.cli.predict import Predict, run, unique_names
from blitznet.core.errors import DataError, ModelError, UsageError
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import SAMPLES
from support.fake_engines import SPEC, write_onnx
from support.without_torch import python


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model file in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("small.onnx"))
    return "small.onnx"


def image(path: str, *, height: int = 40, width: int = 60) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)
    return path


def test_predict_writes_images_class_maps_and_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    image("images/a.jpg")
    image("images/b.png", height=30, width=20)
    assert run(Predict(sources=("images",), model=model, out=Path("out"), json=Path("deep/list.json"))) == 0
    entries = json.loads(Path("deep/list.json").read_text(encoding="utf-8"))
    assert [(entry["path"], entry["width"], entry["height"]) for entry in entries] == [
        ("images/a.jpg", 60, 40),
        ("images/b.png", 20, 30),
    ]
    for entry, name in zip(entries, "ab", strict=True):
        assert entry.keys() == {"path", "width", "height", "detections", "class_map"}
        size = (entry["width"], entry["height"])
        with Image.open(f"out/{name}.jpg") as annotated:
            assert annotated.size == size
        assert entry["class_map"] == f"out/{name}-class-map.png"
        with Image.open(entry["class_map"]) as class_map:
            assert (class_map.mode, class_map.size) == ("P", size)
            assert np.asarray(class_map).max() <= len(SPEC.classes)
        for detection in entry["detections"]:
            assert SPEC.classes[detection["class_id"]] == detection["class_name"]
            assert 0.5 <= detection["score"] <= 1
            assert len(detection["box"]) == 4
    output = capsys.readouterr().out
    assert "images/a.jpg" in output
    assert "person" in output
    assert output.splitlines()[-1].startswith("images: out   JSON: deep/list.json   engine: openvino, float32, ")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("threads", "expected"), [(1, "1 thread"), (2, "2 threads")])
def test_engine_and_threads(
    model: str, engine: EngineName, threads: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Predict(model=model, engine=engine, threads=threads)) == 0
    assert capsys.readouterr().out.endswith(f"   engine: {engine}, float32, {expected}\n")


def test_classes_select_detections(model: str) -> None:
    image("a.jpg")
    names: dict[str, set[str]] = {}
    for name in ("", "person", SPEC.classes[0]):
        options = Predict(sources=("a.jpg",), model=model, min_score=0.0, classes=(name,) if name else ())
        assert run(options) == 0
        (entry,) = json.loads(Path("blitznet-out/predictions.json").read_text(encoding="utf-8"))
        names[name] = {detection["class_name"] for detection in entry["detections"]}
    assert "person" in names[""]
    assert names["person"] == {"person"}
    assert names[SPEC.classes[0]] == names[""] & {SPEC.classes[0]}


def test_outputs_of_an_earlier_run_are_no_inputs(model: str) -> None:
    image("images/a.jpg")
    image("out/mine.jpg")
    for _ in range(2):
        assert run(Predict(sources=("**/*.jpg",), model=model, out=Path("out"))) == 0
        entries = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
        assert [entry["path"] for entry in entries] == ["images/a.jpg", "out/mine.jpg"]


def test_min_score_and_default_files(model: str) -> None:
    image("a.jpg")
    assert run(Predict(sources=("a.jpg",), model=model, min_score=1.0)) == 0
    assert json.loads(Path("blitznet-out/predictions.json").read_text(encoding="utf-8"))[0]["detections"] == []


def test_tta_and_slices(model: str) -> None:
    image("a.jpg")
    assert run(Predict(sources=("a.jpg",), model=model, min_score=0.1, tta="flip", slices="2x1")) == 0
    entry = json.loads(Path("blitznet-out/predictions.json").read_text())[0]
    expected = load(model, tta="flip", slices=(2, 1))("a.jpg", min_score=0.1)
    plain = load(model)("a.jpg", min_score=0.1)
    assert entry["detections"] == expected.to_dict()["detections"]
    assert entry["detections"] != plain.to_dict()["detections"]


def test_sources_default_to_the_samples(model: str) -> None:
    assert run(Predict(model=model, out=Path("out"))) == 0
    entries = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
    assert {Path(entry["path"]).parent for entry in entries} == {SAMPLES}


def test_other_images_are_predicted_beside_a_broken_one(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    image("a.jpg")
    image("c.jpg")
    Path("b.jpg").write_bytes(Path("a.jpg").read_bytes()[:300])
    assert run(Predict(sources=("a.jpg", "b.jpg", "c.jpg"), model=model, out=Path("out"))) == 1
    entries = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
    assert [entry["path"] for entry in entries] == ["a.jpg", "c.jpg"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("blitznet: error: b.jpg: cannot be decoded")


def test_output_names_are_unique(model: str) -> None:
    sources = tuple(image(path) for path in ("x/a.jpg", "y/a.png", "z/a.jpg", "x/a-2.jpg"))
    run(Predict(sources=sources, model=model, out=Path("out")))
    names = {path.name for path in Path("out").glob("*.jpg")}
    assert names == {"a.jpg", "a-2.jpg", "a-3.jpg", "a-2-2.jpg"}


def test_source_images_are_not_overwritten(model: str) -> None:
    sources = (image("a.jpg"), image("a-2-class-map.png"))
    before = [Path(source).read_bytes() for source in sources]
    run(Predict(sources=sources, model=model, out=Path()))
    assert [Path(source).read_bytes() for source in sources] == before
    assert Path("a-3.jpg").is_file()


def test_no_file_is_overwritten_beside_source_images(model: str) -> None:
    """`a.jpg` beside the source `a.png` is likely to be the user's own."""
    source, existing = image("a.png"), Path("a.jpg")
    existing.write_bytes(b"mine")
    run(Predict(sources=(source,), model=model, out=Path()))
    assert existing.read_bytes() == b"mine"
    assert Path("a-2.jpg").is_file()
    assert Path("a-2-class-map.png").is_file()


def test_no_file_of_the_user_is_overwritten_anywhere(model: str) -> None:
    source = image("images/a.jpg")
    Path("out/yolo").mkdir(parents=True)
    Path("out/a.jpg").write_bytes(b"mine")
    Path("out/yolo/a-2.txt").write_bytes(b"mine")
    options = Predict(sources=(source,), model=model, out=Path("out"), formats=("yolo",))
    for _ in range(2):  # the files of the first run are replaced
        assert run(options) == 0
        assert {path.name for path in Path("out").glob("*.jpg")} == {"a.jpg", "a-3.jpg"}
    assert Path("out/a.jpg").read_bytes() == Path("out/yolo/a-2.txt").read_bytes() == b"mine"
    run(replace(options, overwrite=True))
    assert Path("out/a.jpg").read_bytes() != b"mine"


@pytest.mark.parametrize("name", ["images/b.jpg", "images/a.jpg"])
def test_json_does_not_replace_an_image(model: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json images/*.jpg` takes the first image for the file to write."""
    for path in ("images/a.jpg", "images/b.jpg"):
        image(path)
    before = Path(name).read_bytes()
    assert main(["predict", "--json", name, "images/a.jpg", "--out", "out", "--model", model]) == 2
    assert Path(name).read_bytes() == before
    assert capsys.readouterr().err.startswith(f"blitznet: error: {name}: expected a new file, ")
    assert not list(Path("out").iterdir())


def test_an_image_whose_files_cannot_be_written_does_not_end_the_run(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("a", "b" * 248, "c")  # -class-map.png makes the second too long
    sources = tuple(image(f"images/{name}.jpg") for name in names)
    assert run(Predict(sources=sources, model=model, out=Path("out"))) == 1
    entries = json.loads(Path("out/predictions.json").read_text())
    assert [Path(entry["path"]).stem for entry in entries] == list(names)
    assert [entry["class_map"] is None for entry in entries] == [False, True, False]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].endswith("cannot be written (File name too long)")


def test_an_interrupted_run_lists_what_was_done(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tuple(image(f"images/{name}.jpg") for name in "abc")

    def interrupt(*arguments: object) -> None:
        if Path("out/b.jpg").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(FormatWriter, "add", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(Predict(sources=sources, model=model, out=Path("out")))
    assert [entry["path"] for entry in json.loads(Path("out/predictions.json").read_text())] == ["images/a.jpg"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_json_on_stdout_is_alone_there(model: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", image("a.jpg"), "--model", model, "--json", name]) == 0
    output = capfd.readouterr()
    assert [entry["path"] for entry in json.loads(output.out)] == ["a.jpg"]
    assert "a.jpg" in output.err
    assert not Path("-").exists()


def test_other_files_are_written_beside_one_that_cannot_be(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", image("a.jpg"), "--model", model, "--json", "/dev/full", "--formats", "coco", "--out", "out"]
    assert main(words) == 2
    assert "/dev/full: cannot be written" in capsys.readouterr().err
    assert Path("out/coco/results.json").is_file()


def test_names_of_any_characters_are_printed(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(content, "ascii"))
    assert main(["predict", image("ä\n人.jpg"), "--model", model, "--out", "o\nut"]) == 0
    lines = content.getvalue().decode("ascii").splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("images: o\\nut   JSON: ")


def test_stdout_may_be_closed(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["predict", image("a.jpg"), "--model", model]) == 0


def test_warnings_of_pillow_are_not_printed(model: str) -> None:
    broken = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\1\2\0\x64\0\0\0\x88\x13\0\0\0\0\0\0"
    Image.new("RGB", (20, 10)).save("a.jpg", exif=broken)
    with pytest.warns(UserWarning, match="Tag data larger"), Image.open("a.jpg") as opened:
        opened.getexif()
    with warnings.catch_warnings(record=True) as printed:
        warnings.simplefilter("always")
        assert main(["predict", "a.jpg", "--model", model]) == 0
    assert not printed


def test_names_of_many_equal_images_are_found_in_proportional_time(tmp_path: Path) -> None:
    images = [tmp_path / str(number) / "rgb.jpg" for number in range(300)]
    tried: list[str] = []

    def no_other_paths(name: str) -> list[Path]:
        tried.append(name)
        return []

    names = list(unique_names(images, tmp_path / "out", no_other_paths, overwrite=False))
    assert names[:2] == ["rgb", "rgb-2"]
    assert len(set(names)) == len(tried) == 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a" * 300 + ".jpg"], "File name too long"),
        (["--model", "a" * 300], "File name too long"),
        ([""], "expected an image, a folder or a glob, got an empty name"),
        (["/dev/stdin"], "/dev/stdin: expected a file, got a pipe or a device"),
    ],
)
def test_unusable_paths_are_one_line(
    model: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", *([] if "--model" in words else ["--model", model]), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_table_shows_relative_paths_in_full(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "/".join(("a folder with a long name",) * 4)
    image(f"{folder}/image.png", height=4, width=4)
    assert run(Predict(sources=(str(Path(folder).resolve()),), model=model, out=Path("out"))) == 0
    table = capsys.readouterr().out
    assert f"\n{folder}/image.png " in table
    assert str(Path.cwd()) not in table


def test_table_is_limited_to_50_rows(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(52):
        image(f"images/{number:02}.png", height=4, width=4)
    assert run(Predict(sources=("images",), model=model, out=Path("out"))) == 0
    assert "... and 2 more, all in out/predictions.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (Predict(slices="2"), UsageError, r"--slices: expected ROWSxCOLUMNS such as 2x3, got '2'"),
        (Predict(slices="1x1"), UsageError, r"slices: expected rows and columns, 1 or more and not both 1, got 1x1"),
        (Predict(min_score=50), UsageError, r"--min-score: expected 0 to 1, got 50"),
        (
            Predict(sources=("gone.jpg",)),
            DataError,
            r"gone\.jpg: expected an image, a folder or a glob, got a path that does not exist",
        ),
        (Predict(model="gone.onnx"), ModelError, r"gone\.onnx: expected a model file, got a path that does not exist"),
        (
            Predict(engine="torch"),
            UsageError,
            r"small\.onnx: expected the engine onnxruntime, openvino, .* got torch",
        ),
        (Predict(threads=0), UsageError, r"threads: expected 1 or more, got 0"),
        (
            Predict(classes=("zebra",)),
            UsageError,
            r"--classes: expected classes of the model \(.*person.*\), got zebra",
        ),
        (Predict(classes=("Prson",)), UsageError, r"got Prson; did you mean 'person'\?$"),
        (Predict(out=Path("small.onnx/out")), UsageError, r"small\.onnx/out: expected a .* folder"),
        (Predict(json=Path("folder")), UsageError, r"folder: expected a file to write, got a folder"),
    ],
)
def test_invalid_options_are_refused(model: str, options: Predict, kind: type[Exception], message: str) -> None:
    Path("folder").mkdir()
    options = options if options.model.startswith("gone") else Predict(**{**vars(options), "model": model})
    with pytest.raises(kind, match=message):
        run(options)


def test_predict_runs_without_torch(model: str) -> None:
    code = "import sys; from blitznet.cli.predict import Predict, run; sys.exit(run(Predict(model=sys.argv[1])))"
    assert "photographer.jpg" in python(code, model)
    assert Path("blitznet-out/cat-class-map.png").is_file()
