"""Model files, checkpoints, cards, videos and options that cannot be used."""

import json
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import onnx
from onnx import TensorProto

from support.fake_engines import SPEC, write_onnx
from support.hostile.case import DEEP_LIST, DEEP_OBJECT, PNG, BadFile

_PREDICT = "predict a.png --engine {} --model {}"


def _onnx(text: str | None = None, edit: Callable[[onnx.ModelProto], object] = lambda model: None) -> bytes:
    """A small model with this text as spec, changed by a function."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.onnx")
        write_onnx(path, text=text)
        model = onnx.load(path)
        edit(model)
        content: bytes = model.SerializeToString()
        return content


def _spec(**changes: object) -> str:
    return json.dumps(json.loads(SPEC.to_json()) | changes)


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def _other_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 999


def _free_sizes(model: onnx.ModelProto) -> None:
    for output in model.graph.output:
        for size in output.type.tensor_type.shape.dim:
            size.dim_param = "N"


def _more_classes(model: onnx.ModelProto) -> None:
    """Twice as many logits as the spec states, in axes of free sizes."""
    _free_sizes(model)
    next(node for node in model.graph.node if node.output[0] == "logits").output[0] = "half"
    model.graph.node.append(onnx.helper.make_node("Concat", ["half", "half"], ["logits"], axis=2))


def _not_finite(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.output[0] == "offsets").output[0] = "finite"
    model.graph.node.append(onnx.helper.make_node("Div", ["finite", "zero"], ["offsets"]))


def _loop(model: onnx.ModelProto) -> None:
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["zero"], ["endless"], body=body))


def _recursive_function(model: onnx.ModelProto) -> None:
    node = onnx.helper.make_node("Call", ["x"], ["y"], domain="own")
    opset = onnx.helper.make_opsetid("own", 1)
    model.functions.append(onnx.helper.make_function("own", "Call", ["x"], ["y"], [node], [opset]))


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "RunProgram"


_NETWORK = json.loads(SPEC.to_json())["network"]
_ANCHORS = json.loads(SPEC.to_json())["anchors"]


def _spec_rows() -> Iterator[tuple[str, str, str]]:
    yield from (
        ("empty", "", "expected the spec of a blitznet model"),
        ("text", "hello", "expected the spec of a blitznet model"),
        ("a list", "[]", "expected the spec of a blitznet model"),
        ("deep", DEEP_OBJECT, "expected the spec of a blitznet model"),
        ("missing keys", "{}", "expected the spec of a blitznet model"),
        ("newer version", _spec(version=99), "expected a model spec of version"),
        ("unknown key", _spec(code="x"), "the spec has unknown keys ['code']"),
        ("no classes", _spec(classes=[]), "expected at least one class name"),
        ("300 classes", _spec(classes=[str(k) for k in range(300)]), "expected 1 to 254 classes"),
        ("class of a number", _spec(classes=[1]), "expected class names as strings"),
        ("class with an escape", _spec(classes=["\x1b[31m"]), "printable characters"),
        ("size of text", _spec(size=["a", "b"]), "expected a size of (height, width)"),
        ("size of 10^12", _spec(size=[10**12, 10**12]), "size: expected"),
        ("anchors without end", _spec(anchors=_ANCHORS | {"strides": [1] * 70}), "strides, ratios: expected"),
        ("stride of 0", _spec(anchors=_ANCHORS | {"strides": [0]}), "strides: expected"),
        ("scale of NaN", _spec(anchors=_ANCHORS | {"min_scale": float("nan")}), "min_scale: expected a finite number"),
        ("channels of 10^9", _spec(network=_NETWORK | {"channels": 10**9}), "channels: expected"),
        ("deviation of 0", _spec(std=[0.0, 1.0, 1.0]), "std: expected numbers other than 0"),
        ("unknown task", _spec(tasks=["mind reading"]), "expected tasks from"),
        ("temperature of 0", _spec(segmentation_temperature=0.0), "expected a temperature above 0"),
        ("number beyond floats", _spec(mean=[10**400, 0, 0]), "mean: expected 3 numbers"),
        ("bias beyond floats", _spec(score_calibration={"bias": 10**400}), "expected the spec of a blitznet model"),
        ("one stride", _spec(anchors=_ANCHORS | {"strides": [8]}), "strides, ratios: expected 2 to 64 strides"),
        ("scales that decrease", _spec(anchors=_ANCHORS | {"second_scale": 900}), "max_scale: expected 900 or more"),
        ("negative IoU", _spec(postprocess={"nms_threshold": -0.5}), "nms_threshold: expected 0 to 1"),
        ("long name", _spec(name="x" * 10_000), "name: expected 1 to 200 characters"),
        ("other size", _spec(size=[32, 32]), "expected images of shape (any, 32, 32, 3) by its spec"),
        ("more classes", _spec(classes=["a", "b", "c", "d"]), "by its spec"),
    )


def _onnx_cases() -> Iterator[BadFile]:
    good = _onnx()
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", "small.onnx: expected an ONNX model"),
        ("text", b"hello\n", "small.onnx: expected an ONNX model"),
        ("cut", good[: len(good) // 2], "small.onnx: "),
        ("pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR.", "small.onnx: expected an ONNX model"),
        ("field longer than the file", b"\x3a\xff\xff\xff\xff\x0f" + good[:50], "small.onnx: expected an ONNX model"),
        ("no spec", _onnx("", lambda model: model.ClearField("metadata_props")), "without 'blitznet' metadata"),
        ("weights outside", _onnx(edit=_external), "got one with external data"),
        ("loop", _onnx(edit=_loop), "got one with a graph inside a node"),
        ("function that calls itself", _onnx(edit=_recursive_function), "got one with functions"),
        ("more classes than the spec", _onnx(edit=_more_classes), "small.onnx: expected logits of shape"),
        ("not a number", _onnx(edit=_not_finite), "small.onnx: expected finite numbers in offsets"),
        ("input of another size", _onnx(edit=_other_size), "small.onnx: expected"),
        ("unknown operator", _onnx(edit=_unknown_operator), "small.onnx: "),
        ("no graph", _onnx(edit=lambda model: model.ClearField("graph")), "small.onnx: "),
    )
    for name, content, line in rows:
        for engine in ("onnxruntime", "openvino"):
            files = {"a.png": PNG, "small.onnx": content}
            start = line if engine == "onnxruntime" else line.replace("an ONNX model", "a")  # of two messages
            yield BadFile(f"onnx, {engine}: {name}", _PREDICT.format(engine, "small.onnx"), files, start)
    for name, text, line in _spec_rows():
        files = {"a.png": PNG, "small.onnx": _onnx(text)}
        yield BadFile(
            f"spec: {name}",
            _PREDICT.format("onnxruntime", "small.onnx"),
            files,
            f"small.onnx: {line}" if line.startswith("expected the") else line,
        )


def _zip(parts: dict[str, bytes], compression: int = ZIP_STORED) -> bytes:
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ZipFile(stream, "w", compression) as file:
            for name, content in parts.items():
                file.writestr(name, content)
    return stream.getvalue()


def _openvino_cases() -> Iterator[BadFile]:
    parts = {"model.xml": b"<net/>", "model.bin": b"", "spec.json": SPEC.to_json().encode()}
    good = _zip(parts)
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", "m.openvino: expected a zip of model.xml"),
        ("text", b"hello", "m.openvino: expected a zip of model.xml"),
        ("cut", good[:60], "m.openvino: expected a zip of model.xml"),
        ("no weights", _zip({"model.xml": b"<net/>"}), "m.openvino: expected a zip of model.xml"),
        ("compressed parts", _zip({**parts, "model.bin": bytes(9 << 20)}, ZIP_DEFLATED), "its parts are compressed"),
        (
            "part that states 4 GB",
            good.replace(struct.pack("<II", 6, 6), struct.pack("<II", 2**32 - 2, 2**32 - 2)),
            "a part is longer than the file",
        ),
        ("graph of other text", good, "m.openvino: expected a model of `blitznet export`"),
        (
            "graph with an entity",
            _zip({**parts, "model.xml": b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><net>&e;</net>'}),
            "m.openvino: ",
        ),
    )
    for name, content, line in rows:
        files = {"a.png": PNG, "m.openvino": content}
        yield BadFile(f"openvino: {name}", _PREDICT.format("openvino", "m.openvino"), files, line)


def _safetensors(header: bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _tensors(entries: object, data: bytes = b"", *, spec: str | None = None) -> bytes:
    metadata = {"__metadata__": {"blitznet": SPEC.to_json() if spec is None else spec}}
    return _safetensors(json.dumps({**metadata, **entries} if isinstance(entries, dict) else entries).encode(), data)


def _safetensors_cases() -> Iterator[BadFile]:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    large = replace(SPEC, network=replace(SPEC.network, channels=10_000, hidden_channels=10_000)).to_json()
    unreadable = "m.safetensors: cannot be read as safetensors"
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", unreadable),
        ("text", b"hello world, no tensors", unreadable),
        ("pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR.", unreadable),
        ("header of 2^63 bytes", _safetensors(b"{}", length=2**63), unreadable),
        ("header of a list", _safetensors(b"[]"), unreadable),
        ("deep header", _safetensors(DEEP_LIST.encode()), unreadable),
        ("no spec", _safetensors(b"{}"), "m.safetensors: expected a blitznet model"),
        ("offsets outside", _tensors({"a": {**tensor, "data_offsets": [0, 10**12]}}, b"1234"), unreadable),
        ("overlapping offsets", _tensors({"a": tensor, "b": tensor}, b"1234"), unreadable),
        ("shape of 2^62", _tensors({"a": {**tensor, "shape": [2**62]}}, b"1234"), unreadable),
        ("unknown type", _tensors({"a": {**tensor, "dtype": "OBJECT"}}, b"1234"), unreadable),
        ("other weights", _tensors({"a": tensor}, b"1234"), "m.safetensors: "),
        ("no weights for a large network", _tensors({}, spec=large), "m.safetensors: "),
        ("bytes after the tensors", _tensors({"a": tensor}, b"1234" * 9), unreadable),
    )
    for name, content, line in rows:
        files = {"a.png": PNG, "m.safetensors": content}
        yield BadFile(f"safetensors: {name}", _PREDICT.format("torch", "m.safetensors"), files, line)


def _npz(**parts: bytes) -> bytes:
    return _zip({f"{name}.npy": content for name, content in parts.items()})


def _npy(shape: object, data: bytes = b"", *, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def _checkpoint_cases() -> Iterator[BadFile]:
    unreadable = "w.npz: expected variables as .npz or .safetensors"
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", unreadable),
        ("text", b"hello", unreadable),
        ("pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR.", unreadable),
        ("array of objects", _npz(a=_npy("(1,)", b"\x80\x04N.", kind="|O")), unreadable),
        ("array of 2^50 numbers", _npz(a=_npy(f"({2**50},)")), unreadable),
        ("header of code", _npz(a=_npy("__import__('os').system('true')")), unreadable),
        ("bomb", _zip({"a.npy": _npy(f"({600 << 20},)") + bytes(9 << 20)}, ZIP_DEFLATED), unreadable),
        ("another network", _npz(a=_npy("(1,)", b"1234")), "expected"),
    )
    for name, content, line in rows:
        yield BadFile(
            f"checkpoint: {name}",
            "convert-weights w.npz --model blitznet300-s4 --out o.safetensors",
            {"w.npz": content},
            line,
        )


def _program_cases() -> Iterator[BadFile]:
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("not trusted", b"", "m.pt2: expected a format that contains no code"),
        ("text", b"hello", "m.pt2: cannot be read as a torch program"),
        ("no spec", _zip({"m/data.json": b"{}"}), "m.pt2: expected a blitznet model"),
        ("compressed", _zip({"m/extra/blitznet": bytes(9 << 20)}, ZIP_DEFLATED), "its parts are compressed"),
        ("long spec", _zip({"m/extra/blitznet": bytes(2 << 20)}), "its metadata is too long"),
        (
            "pickle inside",
            _zip(
                {
                    "m/extra/blitznet": SPEC.to_json().encode(),
                    "m/data/sample_inputs/model.pt": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
                }
            ),
            "got one with a pickle of other objects",
        ),
        (
            "guards inside",
            _zip(
                {
                    "m/extra/blitznet": SPEC.to_json().encode(),
                    "m/models/model.json": b'{"guards_code": ["__import__(\'os\')"]}',
                }
            ),
            "got one with code in m/models/model.json",
        ),
        (
            "size of Python",
            _zip(
                {
                    "m/extra/blitznet": SPEC.to_json().encode(),
                    "m/models/model.json": b'{"sizes": [{"expr_str": "exec(chr(49))"}]}',
                }
            ),
            "got one with code in m/models/model.json",
        ),
        (
            "object that torch unpickles",
            _zip({"m/extra/blitznet": SPEC.to_json().encode(), "m/data/constants/opaque_obj_0": b"N."}),
            "got m/data/constants/opaque_obj_0",
        ),
    )
    for name, content, line in rows:
        trust = "" if name == "not trusted" else " --trust"
        yield BadFile(
            f"program: {name}", f"{_PREDICT.format('torch', 'm.pt2')}{trust}", {"a.png": PNG, "m.pt2": content}, line
        )


def _option_cases() -> Iterator[BadFile]:
    """Names of models, recipes, options, and files of cards."""
    for name, command, files, line in (
        ("unknown model", "predict a.png --model blitznet300-light", {}, "did you mean 'blitznet300-lite'?"),
        ("missing file", "info no.onnx", {}, "no.onnx: expected a model file"),
        ("suffix", "info a.txt", {"a.txt": "x"}, "a.txt: expected an"),
        ("empty run folder", "info runs/x", {"runs/x/log.jsonl": ""}, "expected best.safetensors or last.safetensors"),
        (
            "broken run folder",
            "predict a.png --engine torch --model runs/x",
            {"runs/x/best.safetensors": b"1234"},
            "best.safetensors: cannot be read",
        ),
        ("score of 2", "predict a.png --min-score 2", {}, "--min-score: expected 0 to 1, got 2.0"),
        ("slices of letters", "predict a.png --slices axb", {}, "--slices: expected ROWSxCOLUMNS"),
        ("unknown command", "predit", {}, "unknown command 'predit'; did you mean `blitznet predict`?"),
        ("unknown recipe", "train blitznet300-light", {}, "unknown recipe 'blitznet300-light'"),
        (
            "card scores of text",
            "info small.onnx --card c.md --scores s.json",
            {"s.json": "x"},
            "s.json: expected the JSON of `blitznet eval",
        ),
        (
            "card scores of a list",
            "info small.onnx --card c.md --scores s.json",
            {"s.json": "[]"},
            "s.json: expected the JSON of `blitznet eval",
        ),
        (
            "card scores, deep",
            "info small.onnx --card c.md --scores s.json",
            {"s.json": DEEP_LIST},
            "s.json: expected the JSON of",
        ),
        (
            "card timings of numbers",
            "info small.onnx --card c.md --speed s.json",
            {"s.json": '{"rows": [1], "machine": 1, "image_size": 1, "date": 1}'},
            "s.json: expected timings",
        ),
        (
            "card scores of numbers",
            "info small.onnx --card c.md --scores s.json",
            {"s.json": '{"images": 1, "detection": 5}'},
            "--scores, --speed: expected the JSON of",
        ),
        (
            "card timings without stages",
            "info small.onnx --card c.md --speed s.json",
            {"s.json": '{"rows": [{"streamed_per_second": "a"}], "machine": 1, "image_size": 1, "date": 1}'},
            "--scores, --speed: expected the JSON of",
        ),
        (
            "card notes of bytes",
            "info small.onnx --card c.md --notes n.md",
            {"n.md": b"\xff\xfe"},
            "n.md: cannot be read",
        ),
        (
            "soup of text",
            "soup a.safetensors b.safetensors --out c.safetensors",
            {"a.safetensors": "x", "b.safetensors": "y"},
            "a.safetensors: cannot be read as safetensors",
        ),
        (
            "export of text",
            "export a.safetensors --to onnx",
            {"a.safetensors": "x"},
            "a.safetensors: cannot be read as safetensors",
        ),
        ("bench of text", "bench a.onnx", {"a.onnx": "x"}, "a.onnx: expected a"),
        ("serve of text", "serve --model a.onnx", {"a.onnx": "x"}, "a.onnx: expected a"),
        ("video of text", "video a.mp4 --model small.onnx", {"a.mp4": "x"}, "a.mp4: "),
        ("video of nothing", "video a.mp4 --model small.onnx", {"a.mp4": ""}, "a.mp4: "),
        (
            "video of a cut header",
            "video a.mp4 --model small.onnx",
            {"a.mp4": b"\0\0\0\x18ftypmp42" + bytes(12)},
            "a.mp4: ",
        ),
        (
            "video, playlist of other files",
            "video a.mp4 --model small.onnx",
            {"a.mp4": "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"},
            "a.mp4: ",
        ),
        (
            "class names of bytes",
            "data check voc:d@train --class-names n.txt",
            {"n.txt": b"\xff"},
            "n.txt: expected UTF-8 text",
        ),
        ("class names missing", "data check voc:d@train --class-names n.txt", {}, "n.txt: expected a file"),
    ):
        yield BadFile(f"option: {name}", command, {"a.png": PNG, **files}, line)


def model_cases() -> Iterator[BadFile]:
    """Rows of all kinds of models and of options."""
    yield from _onnx_cases()
    yield from _openvino_cases()
    yield from _safetensors_cases()
    yield from _checkpoint_cases()
    yield from _program_cases()
    yield from _option_cases()
