import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from benchmarks._lib.results import at_least, at_most
from benchmarks.competitors.jobs import Entry, Kind, Row, blitznet_entry, competitor_entry
from benchmarks.competitors.model_files import model_files, onnx_spec, random_network, with_precision
from benchmarks.competitors.networks import COMPETITORS, PEERS, Competitor, Runtime, Setup
from benchmarks.competitors.plot import draw
from benchmarks.competitors.run import Options, evenly_spaced, fastest, goals_of, read_accuracies, report_tables
from blitznet.bench.interleaved import run_interleaved
from blitznet.bench.timing import Latency
from blitznet.core.errors import UsageError
from blitznet.core.image import ImageSource
from blitznet.core.models import DEFAULT
from blitznet.core.spec import METADATA_KEY, Precision, Spec
from support.competitor import DETECTOR, PAGE, SEGMENTER, write_competitors
from support.fake_engines import SPEC, write_onnx
from support.small_networks import small_spec

SSDLITE, DEEPLAB = COMPETITORS[0], COMPETITORS[-1]


def row(title: str, engine: str, precision: str, total: float, network: float = 1.0, kind: Kind = "blitznet") -> Row:
    time = Latency(total, 2 * total)
    speed = time.per_second
    return Row(title, kind, engine, precision, Latency(network, network), time, speed, 1.5 * speed, 100.0)


def entry(competitor: Competitor, runtime: Runtime, precision: Precision) -> Entry:
    return competitor_entry([(competitor, Setup(runtime, precision, 1))], [])


def test_goals_of() -> None:
    single = [
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
    speed, *others = goals_of(single, final)
    assert speed.met
    name = f"{DEFAULT}, image to boxes and full-size class map, in a stream"
    assert speed.line() == f"{name}: 300 frames/s (goal >= 120 frames/s): met"
    pairs, networks = others[:4], others[4:]
    assert [(goal.measured, goal.met) for goal in pairs] == [("3.2 times", True), ("2.8 times", False)] * 2
    assert [(goal.measured, goal.met) for goal in networks] == [("1.5 times", False), ("1.2 times", True)]
    assert goals_of(single[2:], final[1:]) == []
    large = [row("blitznet300-s4", "openvino", precision, 75.0) for precision in ("int8", "bfloat16", "float32")]
    assert [(goal.measured, goal.met) for goal in goals_of([*single, *large], final)[-2:]] == [
        ("20 frames/s", False),
        ("20 frames/s", True),
    ]


def test_goals_include_their_limit() -> None:
    assert (at_least("", 1, 1).met, at_most("", 1, 1).met, at_most("", 1.1, 1).met) == (True, True, False)


def test_fastest_setups_and_pairs() -> None:
    entries = [blitznet_entry(Path("a.onnx"), runtime, SPEC, [], 1) for runtime in ("onnxruntime", "openvino")]
    settings: list[tuple[Runtime, Precision]] = [("onnxruntime", "int8"), ("openvino", "float32"), ("openvino", "int8")]
    entries += [entry(competitor, *setting) for competitor in (SSDLITE, DEEPLAB) for setting in settings]
    times = [3.0, 2.0, 5.0, 7.0, 6.0, 20.0, 11.0, 12.0]
    single = [row(item.title, item.engine, item.precision, time) for item, time in zip(entries, times, strict=True)]
    finalists = fastest(entries, single, [], PEERS)
    assert [(item.title, item.engine, item.precision) for item in finalists] == [
        ("small", "openvino", "float32"),
        ("SSDLite + DeepLab", "onnxruntime", "int8"),
        ("SSDLite + DeepLab", "openvino", "int8 + float32"),
    ]


def test_entries_run_interleaved(tmp_path: Path) -> None:
    folder = write_competitors(tmp_path / "peers")
    image, file = tmp_path / "a.png", tmp_path / "small.onnx"
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(image)
    write_onnx(file)
    setup = Setup("onnxruntime", "float32", 1)
    pair = competitor_entry([(DETECTOR, setup), (SEGMENTER, setup)], [image, image], folder)
    assert (pair.title, pair.kind, pair.engine, pair.precision) == (
        "Detector + Segmenter",
        "pair",
        "onnxruntime",
        "float32",
    )
    single = blitznet_entry(file, "onnxruntime", SPEC, [image, image], 1)
    for measurements in run_interleaved([single.job, pair.job], 1):
        assert [len(measurements[0].network), len(measurements[0].total)] == [2, 2]
        assert all(0 < network < 1000 for network in measurements[0].network)
        assert 0 < measurements[0].streamed < 1000
        assert measurements[0].memory > 10_000_000


def test_with_precision_changes_the_spec(tmp_path: Path) -> None:
    write_onnx(tmp_path / "a.onnx")
    copy = with_precision(tmp_path / "a.onnx", "bfloat16", tmp_path / "b.onnx")
    metadata = {entry.key: entry.value for entry in onnx.load(copy).metadata_props}
    assert Spec.from_json(metadata[METADATA_KEY]).precision == "bfloat16"
    assert onnx_spec(tmp_path / "a.onnx") == SPEC


@pytest.mark.slow
def test_model_files_in_every_precision(tmp_path: Path) -> None:
    from blitznet.nets.model_files import save_model

    spec = small_spec()
    save_model(tmp_path / "own.safetensors", random_network(spec), spec)
    images = [ImageSource(np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)) for seed in range(3)]
    files = dict(model_files(str(tmp_path / "own.safetensors"), tmp_path, images))
    assert [file_spec.precision for file_spec in files.values()] == ["float32", "bfloat16", "int8"]
    assert all(onnx_spec(file) == file_spec for file, file_spec in files.items() if file_spec.precision != "bfloat16")
    int8_file = tmp_path / f"{spec.name}-int8.onnx"
    assert [file for file, _ in model_files(str(int8_file), tmp_path, images)] == [int8_file]


def test_random_network_predicts_background() -> None:
    import torch

    spec = small_spec()
    with torch.inference_mode():
        heads = random_network(spec)(torch.rand(1, 3, *spec.size))
    assert heads.logits is not None
    assert (heads.logits.argmax(-1) == 0).float().mean() > 0.9


def test_read_accuracies(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(PAGE)
    scores = tmp_path / "eval.json"
    scores.write_text(json.dumps({"detection": {"ap50_frequent": 0.44}, "segmentation": {"miou": 0.49}}))
    accuracies = read_accuracies(Options(scores=(f"int8={scores}",), peers=tmp_path))
    assert accuracies[DEFAULT, "int8"] == (0.44, 0.49)
    assert accuracies["SSDLite", "float32"] == (0.534, None)
    assert accuracies["DeepLab", "float32"] == (None, 0.673)
    assert accuracies["PicoDet-S", "float32"] == (None, None)
    with pytest.raises(UsageError, match=r"--scores: expected PRECISION=FILE, got eval\.json"):
        read_accuracies(Options(scores=("eval.json",), peers=tmp_path))


def test_evenly_spaced(tmp_path: Path) -> None:
    lists = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{k}\n" for k in range(10)))
    assert [path.stem for path in evenly_spaced(tmp_path, "val", 4)] == ["0", "2", "5", "7"]


def test_tables_and_plot(tmp_path: Path) -> None:
    rows = [row(DEFAULT, "openvino", "int8", 5.0), row("SSDLite", "openvino", "float32", 4.0, kind="detector")]
    scored = [replace(item, ap50=0.5, miou=0.4) for item in rows]
    single, final = report_tables(scored, rows, Options())
    assert single.rows[0] == (
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
