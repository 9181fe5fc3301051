import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blitznet.api import load
from blitznet.cli.predict import Predict, run
from blitznet.core.errors import DataError, ModelError, UsageError
from blitznet.runtime.engine import EngineName
from blitznet.runtime.image_paths import SAMPLES
from support.fake_engines import SPEC, write_onnx
from support.without_torch import python


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model's file in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("small.onnx"))
    return "small.onnx"


def image(path: str, *, height: int = 40, width: int = 60) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(path)
    return path


def test_pictures_masks_and_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    image("shots/a.jpg")
    image("shots/b.png", height=30, width=20)
    assert run(Predict(sources=("shots",), model=model, out=Path("out"), json=Path("deep/list.json"))) == 0
    entries = json.loads(Path("deep/list.json").read_text(encoding="utf-8"))
    assert [(entry["path"], entry["width"], entry["height"]) for entry in entries] == [
        ("shots/a.jpg", 60, 40),
        ("shots/b.png", 20, 30),
    ]
    for entry, name in zip(entries, "ab", strict=True):
        assert entry.keys() == {"path", "width", "height", "detections", "mask"}
        size = (entry["width"], entry["height"])
        with Image.open(f"out/{name}.jpg") as picture:
            assert picture.size == size
        assert entry["mask"] == f"out/{name}-mask.png"
        with Image.open(entry["mask"]) as mask:
            assert (mask.mode, mask.size) == ("P", size)
            assert np.asarray(mask).max() <= len(SPEC.classes)
        for found in entry["detections"]:
            assert found["label"] in SPEC.classes
            assert 0.5 <= found["score"] <= 1
            assert len(found["box"]) == 4
    said = capsys.readouterr().out
    assert "shots/a.jpg" in said
    assert "person" in said
    assert said.splitlines()[-1].startswith(
        "pictures and masks: out   JSON: deep/list.json   engine: openvino, float32, "
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("threads", "expected"), [(1, "1 thread"), (2, "2 threads")])
def test_engine_and_threads(
    model: str, engine: EngineName, threads: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Predict(model=model, engine=engine, threads=threads)) == 0
    assert capsys.readouterr().out.endswith(f"   engine: {engine}, float32, {expected}\n")


def test_score_and_default_places(model: str) -> None:
    image("a.jpg")
    assert run(Predict(sources=("a.jpg",), model=model, score=1.0)) == 0
    assert json.loads(Path("blitznet-out/predictions.json").read_text(encoding="utf-8"))[0]["detections"] == []


def test_several_looks(model: str) -> None:
    """What is shown of a image is what the predictor of these options answers."""
    image("a.jpg")
    assert run(Predict(sources=("a.jpg",), model=model, score=0.1, flip=True, tiles="2x1")) == 0
    found = json.loads(Path("blitznet-out/predictions.json").read_text())[0]
    expected = load(model, flip=True, tiles=(2, 1))("a.jpg", min_score=0.1)
    plain = load(model)("a.jpg", min_score=0.1)
    assert found["detections"] == expected.to_dict()["detections"]
    assert found["detections"] != plain.to_dict()["detections"]


def test_without_sources_the_samples(model: str) -> None:
    assert run(Predict(model=model, out=Path("out"))) == 0
    entries = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
    assert {Path(entry["path"]).parent for entry in entries} == {SAMPLES}


def test_a_broken_image_keeps_no_other_from_being_done(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    image("a.jpg")
    image("c.jpg")
    Path("b.jpg").write_bytes(Path("a.jpg").read_bytes()[:300])
    assert run(Predict(sources=("a.jpg", "b.jpg", "c.jpg"), model=model, out=Path("out"))) == 1
    entries = json.loads(Path("out/predictions.json").read_text(encoding="utf-8"))
    assert [entry["path"] for entry in entries] == ["a.jpg", "c.jpg"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("blitznet: error: b.jpg: cannot be decoded")


def test_names_do_not_collide(model: str) -> None:
    sources = tuple(image(path) for path in ("x/a.jpg", "y/a.png", "z/a.jpg", "x/a-2.jpg"))
    run(Predict(sources=sources, model=model, out=Path("out")))
    names = {path.name for path in Path("out").glob("*.jpg")}
    assert names == {"a.jpg", "a-2.jpg", "a-3.jpg", "a-2-2.jpg"}


def test_no_image_is_overwritten(model: str) -> None:
    sources = (image("a.jpg"), image("a-2-mask.png"))
    before = [Path(source).read_bytes() for source in sources]
    run(Predict(sources=sources, model=model, out=Path()))
    assert [Path(source).read_bytes() for source in sources] == before
    assert Path("a-3.jpg").is_file()


def test_nothing_is_overwritten_where_images_lie(model: str) -> None:
    """`cat.jpg` beside the `cat.png` that is looked at is likely the user's own."""
    source, other = image("a.png"), Path("a.jpg")
    other.write_bytes(b"mine")
    run(Predict(sources=(source,), model=model, out=Path()))
    assert other.read_bytes() == b"mine"
    assert Path("a-2.jpg").is_file()
    assert Path("a-2-mask.png").is_file()


def test_long_paths_stay_whole_in_the_table_and_those_below_are_short(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = "/".join(("a folder with a long name",) * 4)
    image(f"{folder}/image.png", height=4, width=4)
    assert run(Predict(sources=(str(Path(folder).resolve()),), model=model, out=Path("out"))) == 0
    table = capsys.readouterr().out
    assert f"\n{folder}/image.png " in table
    assert str(Path.cwd()) not in table


def test_many_images_are_cut_off_in_the_table(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(52):
        image(f"shots/{number:02}.png", height=4, width=4)
    assert run(Predict(sources=("shots",), model=model, out=Path("out"))) == 0
    assert "... and 2 more, all in out/predictions.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (Predict(tiles="2"), UsageError, r"--tiles: expected rows x columns such as 2x3, got '2'"),
        (Predict(tiles="1x1"), UsageError, r"tiles: expected rows and columns, 1 or more and not both 1, got 1x1"),
        (Predict(score=50), UsageError, r"--score: expected 0 to 1, got 50"),
        (Predict(sources=("gone.jpg",)), DataError, r"gone\.jpg: there is no such file or folder"),
        (Predict(model="gone.onnx"), ModelError, r"gone\.onnx: there is no such model file"),
        (
            Predict(engine="torch"),
            UsageError,
            r"small\.onnx: torch does not run \.onnx files; onnxruntime, openvino, .*",
        ),
        (Predict(threads=0), UsageError, r"threads: expected 1 or more, got 0"),
        (Predict(out=Path("small.onnx/out")), UsageError, r"small\.onnx/out: expected a folder to write to, but .*"),
        (Predict(json=Path("folder")), UsageError, r"folder: expected a file to write, got a folder"),
    ],
)
def test_options_that_cannot_be_used(model: str, options: Predict, kind: type[Exception], message: str) -> None:
    Path("folder").mkdir()
    chosen = options if options.model.startswith("gone") else Predict(**{**vars(options), "model": model})
    with pytest.raises(kind, match=message):
        run(chosen)


def test_runs_without_torch(model: str) -> None:
    code = "import sys; from blitznet.cli.predict import Predict, run; sys.exit(run(Predict(model=sys.argv[1])))"
    assert "photographer.jpg" in python(code, model)
    assert Path("blitznet-out/cat-mask.png").is_file()
