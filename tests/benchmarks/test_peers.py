import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import rivals
from blitznet.bench.interleaved import run_interleaved
from blitznet.bench.timing import Latency
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.models import DEFAULT
from blitznet.core.spec import METADATA_KEY, Precision, Spec
from contenders import Contender, Kind, ours, pinned, theirs
from own import contract, files_of, random_network
from peers import Options, Row, accuracies, evenly, fastest, judge, report_tables
from rivals import PEERS, Peer, Runtime, Setup
from scatter import draw
from support.competitor import DETECTOR, PAGE, SEGMENTER, write_home
from support.fake_engines import SPEC, write_onnx
from support.small_networks import small_spec
from tables import at_least, at_most

SSDLITE, DEEPLAB = PEERS[0], PEERS[-1]


def row(title: str, engine: str, precision: str, whole: float, network: float = 1.0, kind: Kind = "ours") -> Row:
    time = Latency(whole, 2 * whole)
    speed = time.per_second
    return Row(title, kind, engine, precision, Latency(network, network), time, speed, 1.5 * speed, 100.0)


def rival(peer: Peer, runtime: Runtime, precision: Precision) -> Contender:
    return theirs([(peer, Setup(runtime, precision, 1))], [])


def test_promises() -> None:
    alone = [
        row(DEFAULT, "openvino", "bfloat16", 5.0, network=3.0),
        row(DEFAULT, "openvino", "float32", 8.0, network=3.0),
        row("SSDLite", "openvino", "bfloat16", 4.0, network=2.0, kind="detector"),
        row("SSDLite", "openvino", "float32", 4.0, network=2.5, kind="detector"),
    ]
    final = [
        row(DEFAULT, "openvino", "bfloat16", 5.0),
        row("SSDLite + DeepLab", "openvino", "bfloat16", 20.0, kind="pair"),
        row("SSDLite + DeepLab", "onnxruntime", "int8", 16.0, kind="pair"),
        row("FastestDet + DeepLab", "openvino", "bfloat16", 14.0, kind="pair"),
    ]
    speed, *pairs = judge(alone, final)
    assert speed.holds
    whole = f"{DEFAULT}, image to boxes and full-size class map, in a stream: 300 frames/s (expected >= 120 frames/s): holds"
    assert speed.line() == whole
    pairs, networks = pairs[:4], pairs[4:]
    assert [(one.measured, one.holds) for one in pairs] == [("3.2 times", True), ("2.8 times", False)] * 2
    assert [(one.measured, one.holds) for one in networks] == [("1.5 times", False), ("1.2 times", True)]
    assert judge(alone[2:], final[1:]) == []
    heavy = [row("blitznet300-s4", "openvino", kind, 75.0) for kind in ("int8", "bfloat16", "float32")]
    assert [(one.measured, one.holds) for one in judge([*alone, *heavy], final)[-2:]] == [
        ("20 frames/s", False),
        ("20 frames/s", True),
    ]
    assert (at_least("", 1, 1).holds, at_most("", 1, 1).holds, at_most("", 1.1, 1).holds) == (True, True, False)


def test_the_fastest_meet_again() -> None:
    own = [ours(Path("a.onnx"), runtime, SPEC, [], 1) for runtime in ("onnxruntime", "openvino")]
    settings: list[tuple[Runtime, Precision]] = [("onnxruntime", "int8"), ("openvino", "float32"), ("openvino", "int8")]
    others = [rival(peer, *setting) for peer in (SSDLITE, DEEPLAB) for setting in settings]
    contenders = [*own, *others]
    times = [3.0, 2.0, 5.0, 7.0, 6.0, 20.0, 11.0, 12.0]
    alone = [row(one.title, one.engine, one.precision, time) for one, time in zip(contenders, times, strict=True)]
    found = fastest(contenders, alone, [], rivals.HOME)
    assert [(one.title, one.engine, one.precision) for one in found] == [
        ("small", "openvino", "float32"),
        ("SSDLite + DeepLab", "onnxruntime", "int8"),
        ("SSDLite + DeepLab", "openvino", "int8 + float32"),
    ]


def test_they_take_turns(tmp_path: Path) -> None:
    home = write_home(tmp_path / "peers")
    image, file = tmp_path / "a.png", tmp_path / "small.onnx"
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(image)
    write_onnx(file)
    setup = Setup("onnxruntime", "float32", 1)
    both = theirs([(DETECTOR, setup), (SEGMENTER, setup)], [image, image], home)
    assert (both.title, both.kind, both.engine, both.precision) == (
        "Finder + Painter",
        "pair",
        "onnxruntime",
        "float32",
    )
    mine = ours(file, "onnxruntime", SPEC, [image, image], 1)
    for turns in run_interleaved([mine.job, both.job], 1):
        assert [len(turns[0].network), len(turns[0].whole)] == [2, 2]
        assert all(0 < network < 1000 for network in turns[0].network)
        assert 0 < turns[0].streamed < 1000
        assert turns[0].memory > 10_000_000


def test_a_copy_in_another_precision(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    copy = pinned(tmp_path / "a.onnx", "bfloat16", tmp_path / "b.onnx")
    notes = {note.key: note.value for note in onnx.load(copy).metadata_props}
    assert Spec.from_json(notes[METADATA_KEY]).precision == "bfloat16"
    assert contract(tmp_path / "a.onnx") == SPEC


def test_a_model_as_files_in_every_precision(tmp_path: Path) -> None:
    from blitznet.nets.model_files import save_model

    spec = small_spec()
    save_model(tmp_path / "own.safetensors", random_network(spec), spec)
    images = [ImageSource(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)) for seed in range(3)]
    files = dict(files_of(str(tmp_path / "own.safetensors"), tmp_path, images))
    assert [one.precision for one in files.values()] == ["float32", "bfloat16", "int8"]
    assert all(contract(file) == one for file, one in files.items() if one.precision != "bfloat16")
    small = tmp_path / f"{spec.name}-int8.onnx"
    assert [file for file, _ in files_of(str(small), tmp_path, images)] == [small]


def test_random_weights_see_background() -> None:
    import torch

    spec = small_spec()
    with torch.inference_mode():
        heads = random_network(spec)(torch.rand(1, 3, *spec.size))
    assert heads.logits is not None
    assert (heads.logits.argmax(-1) == 0).float().mean() > 0.9


def test_accuracies_are_read(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(PAGE)
    scores = tmp_path / "eval.json"
    scores.write_text(json.dumps({"detection": {"ap50_pooled": 0.44}, "segmentation": {"miou": 0.49}}))
    found = accuracies(Options(scores=(f"int8={scores}",), peers=tmp_path))
    assert found[DEFAULT, "int8"] == (0.44, 0.49)
    assert found["SSDLite", "float32"] == (0.534, None)
    assert found["DeepLab", "float32"] == (None, 0.673)
    assert found["PicoDet-S", "float32"] == (None, None)
    with pytest.raises(UsageError, match=r"--scores: expected PRECISION=FILE, got eval\.json"):
        accuracies(Options(scores=("eval.json",), peers=tmp_path))


def test_images_come_evenly(tmp_path: Path) -> None:
    lists = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{k}\n" for k in range(10)))
    assert [path.stem for path in evenly(tmp_path, "val", 4)] == ["0", "2", "5", "7"]


def test_tables_and_picture(tmp_path: Path) -> None:
    rows = [row(DEFAULT, "openvino", "int8", 5.0), row("SSDLite", "openvino", "float32", 4.0, kind="detector")]
    scored = [replace(one, ap50=0.5, miou=0.4) for one in rows]
    alone, final = report_tables(scored, rows, Options())
    assert alone.rows[0] == (
        DEFAULT,
        "openvino",
        "int8",
        "1.00 / 1.00",
        "5.00 / 10.00",
        "200.0",
        "300.0",
        "100",
        "50.0 %",
        "40.0 %",
    )
    assert final.rows[0][-2:] == ("-", "-")
    draw(tmp_path / "a.png", [*scored, *rows], rows)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 1000
