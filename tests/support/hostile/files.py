"""Parquet, MATLAB and result files, mask folders, run folders, and pipes in the place of files."""

import base64
import json
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from support.hostile.case import DEEP_LIST, HUGE, MASK, PNG, BadFile, png, png_of, zeros

_TO_COCO = "data convert {} --to coco --out out --lossy"
_TO_FOLDER = "data convert {} --to folder --out out --lossy"


def _parquet(columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None) -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = BytesIO()
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata) if metadata else table, stream)
    return stream.getvalue()


def _rows(objects: Any, image: bytes = PNG) -> dict[str, Any]:
    return {"image": [{"bytes": image, "path": "a.png"}], "objects": [objects]}


_OBJECTS = {"bbox": [[1.0, 1.0, 4.0, 4.0]], "categories": ["cat"]}


def _parquet_cases() -> Iterator[BadFile]:
    good = _parquet(_rows(_OBJECTS))
    middle = len(good) // 2
    deep = {b"huggingface": b'{"info": {"features": ' + b'{"a": ' * 400 + b"1" + b"}" * 400 + b"}}"}
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", "train.parquet: expected a Parquet file"),
        ("magic only", b"PAR1PAR1", "train.parquet: expected a Parquet file"),
        ("text", b"hello " * 99, "train.parquet: expected a Parquet file"),
        ("cut", good[:-50], "train.parquet: expected a Parquet file"),
        ("footer of 2^31 bytes", good[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1", "expected a Parquet file"),
        ("pages of other bytes", good[:4] + b"\xff" * 60 + good[64:], "train.parquet: expected a Parquet file"),
        ("footer of other bytes", good[: middle + 200] + b"\xff" * 99 + good[middle + 299 :], "train.parquet: "),
        ("no image", _parquet({"a": [1]}), "train.parquet: expected a column `image` with bytes"),
        ("no objects", _parquet({"image": [{"bytes": PNG, "path": "a.png"}]}), "expected a column `objects`"),
        ("box of three", _parquet(_rows(_OBJECTS | {"bbox": [[1.0, 2.0, 3.0]]})), "expected bbox as x y width height"),
        ("box of NaN", _parquet(_rows(_OBJECTS | {"bbox": [[1.0, 2.0, 3.0, float("nan")]]})), "expected pixel coord"),
        ("more boxes", _parquet(_rows(_OBJECTS | {"categories": ["cat", "cat"]})), "expected a category for each box"),
        ("no classes", _parquet(_rows({"bbox": [], "categories": []}), deep), "expected objects of at least one class"),
    )
    for name, content, line in rows:
        yield BadFile(f"parquet: {name}", _TO_COCO.format("huggingface:d"), {"d/data/train.parquet": content}, line)
    for name, image, line in (
        ("bomb", png_of(40_000, 40_000, pixels=zeros(1 << 20)), "expected at most 89,478,485 pixels"),
        ("text", b"text", "not an image of a known format"),
        ("nothing", b"", "expected"),
    ):
        files = {"d/data/train.parquet": _parquet(_rows(_OBJECTS, image))}
        yield BadFile(f"parquet image: {name}", _TO_COCO.format("huggingface:d"), files, line)
    for name, mask, line in (
        ("bomb", png_of(40_000, 40_000, pixels=zeros(1 << 20)), "expected at most 89,478,485 pixels"),
        ("colors", png(color=(1, 2, 3)), "expected a mask of class indices, got mode RGB"),
        ("cut", MASK[:-20], "mask cannot be decoded"),
        ("unknown value", png(mode="L", color=9), "expected mask values below 2, got 9"),
    ):
        columns = {"image": [{"bytes": PNG, "path": "a.png"}], "label": [{"bytes": mask, "path": "a.png"}]}
        files = {"d/data/train.parquet": _parquet(columns), "d/classes.txt": b"cat\n"}
        yield BadFile(f"parquet mask: {name}", _TO_FOLDER.format("huggingface:d"), files, line)
    labels = {"d/data/train.parquet": _parquet({"image": [{"bytes": PNG, "path": "a"}], "label": [{"bytes": MASK}]})}
    for name, text, line in (
        ("a list", "[1]", "id2label.json: expected an object 'id2label'"),
        ("letters", '{"a": "b"}', "id2label.json: expected numbers and names of classes"),
        ("deep", DEEP_LIST, "id2label.json: expected a JSON file"),
    ):
        files = {**labels, "d/id2label.json": text.encode()}
        yield BadFile(f"parquet id2label: {name}", _TO_FOLDER.format("huggingface:d"), files, line)


def _mat(**values: Any) -> bytes:
    from scipy.io import savemat

    stream = BytesIO()
    savemat(stream, values, do_compression=True)  # type: ignore[arg-type] # the stub lacks file objects
    return stream.getvalue()


def _mat_cases() -> Iterator[BadFile]:
    import numpy as np

    good = _mat(GTcls={"Segmentation": np.ones((8, 12), np.uint8)})
    header = good[:128]
    inflating = zeros(100 << 20)
    rows: tuple[tuple[str, bytes, str], ...] = (
        ("empty", b"", "a.mat: expected SBD's GTcls record"),
        ("text", b"hello", "a.mat: expected SBD's GTcls record"),
        ("cut", good[:-30], "a.mat: expected SBD's GTcls record"),
        ("header only", header, "a.mat: expected SBD's GTcls record"),
        ("another variable", _mat(x=1), "a.mat: expected SBD's GTcls record"),
        ("a number", _mat(GTcls=1), "a.mat: expected SBD's GTcls record"),
        ("no segmentation", _mat(GTcls={"a": 1}), "a.mat: expected SBD's GTcls record"),
        ("one row", _mat(GTcls={"Segmentation": np.ones(9, np.uint8)}), "a.mat: expected Segmentation of shape (H, W)"),
        (
            "unknown value",
            _mat(GTcls={"Segmentation": np.full((8, 12), 99, np.uint8)}),
            "a.mat: expected mask values up",
        ),
        (
            "bomb",
            header + struct.pack("<II", 15, len(inflating)) + inflating,
            "a.mat: expected at most 67,108,864 bytes",
        ),
        ("oversized", header + bytes(16 << 20), "a.mat: expected at most 16,777,216 bytes"),
        ("pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR.", "a.mat: expected SBD's GTcls record"),
        ("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(200), "a.mat: expected SBD's GTcls record"),
    )
    for name, content, line in rows:
        files: dict[str, bytes | str] = {"d/train.txt": "a\n", "d/img/a.jpg": PNG, "d/cls/a.mat": content}
        yield BadFile(f"mat: {name}", _TO_FOLDER.format("sbd:d@train"), files, line)
    instances = {"Segmentation": np.ones((8, 12), np.uint8), "Categories": np.asarray([77])}
    files = {"d/train.txt": "a\n", "d/img/a.jpg": PNG, "d/cls/a.mat": good, "d/inst/a.mat": _mat(GTinst=instances)}
    yield BadFile(
        "mat: unknown category", _TO_COCO.format("sbd:d@train"), files, "a.mat: instance 1: expected a category"
    )


def _folder_cases() -> Iterator[BadFile]:
    base: dict[str, bytes | str] = {"d/images/a.png": PNG, "d/masks/a.png": MASK, "d/classes.txt": "background\ncat\n"}
    tables = (
        ("labelmap.txt", "cat:1,2\n", "labelmap.txt:1: expected a color as three numbers"),
        ("labelmap.txt", "cat:1,2,999::\n", "labelmap.txt:1: expected a color of numbers 0 to 255"),
        ("labelmap.txt", f"cat:{HUGE},1,1::\n", "labelmap.txt:1: expected a color as three numbers"),
        ("labelmap.txt", "cat:1,1,1::\ndog:1,1,1::\n", "labelmap.txt: expected a color of its own"),
        ("class_dict.csv", "name,r,g,b\ncat,1,2\n", "class_dict.csv:2: expected a color as three numbers"),
        ("class_dict.csv", "name,r,g,b\n,1,2,3\n", "expected class names of 1 to 200"),
        ("class_dict.csv", "", "class_dict.csv: expected 1 to 254 unique class names, got 0"),
    )
    for number, (file, content, line) in enumerate(tables, 1):
        yield BadFile(f"color table {number}", _TO_FOLDER.format("folder:d"), {**base, f"d/{file}": content}, line)
    for name, changes, line in (
        ("no mask", {"d/masks/a.png": b""}, "a.png: expected an image, got an empty file"),
        ("mask of colors", {"d/masks/a.png": png(color=(9, 9, 9))}, "a.png: expected a palette or grayscale mask"),
        ("mask bomb", {"d/masks/a.png": png_of(40_000, 40_000, pixels=zeros(1 << 20))}, "89,478,485 pixels"),
        ("300 classes", {"d/classes.txt": "\n".join(map(str, range(300)))}, "classes.txt: expected 1 to 254 classes"),
        ("only background", {"d/classes.txt": "background\n"}, "classes.txt: expected 1 to 254 classes, got 0"),
        ("list of another image", {"d/splits/val.txt": "a\nzzz\n"}, "zzz.jpg: expected an image"),
        ("list with a null", {"d/splits/val.txt": "a\0b"}, "val.txt: expected UTF-8 text, got a null character"),
    ):
        split = "@val" if "d/splits/val.txt" in changes else ""
        yield BadFile(f"mask folder: {name}", _TO_FOLDER.format(f"folder:d{split}"), {**base, **changes}, line)


_HEADER = json.dumps({"blitznet": "results", "class_names": ["cat"], "tasks": ["detection"]})


def _result(**changes: Any) -> str:
    row = {"set": "s", "id": "a", "width": 12, "height": 8, "boxes": [], "scores": [], "labels": [], "class_map": None}
    return f"{_HEADER}\n{json.dumps(row | changes)}\n"


_BOXES = {"boxes": [[1, 1, 5, 5]], "scores": [0.5], "labels": [0]}


def _result_cases() -> Iterator[BadFile]:
    bomb = base64.b64encode(png_of(40_000, 40_000, pixels=zeros(1 << 20))).decode()
    rows: tuple[tuple[str, str, str], ...] = (
        ("empty", "", "r.jsonl: expected a result file"),
        ("deep", DEEP_LIST, "r.jsonl: expected a result file"),
        ("a list", "[]\n", "r.jsonl: expected a result file"),
        ("another kind", '{"blitznet": "x"}\n', "r.jsonl: expected a result file"),
        ("names of numbers", _HEADER.replace('["cat"]', "[5]"), "r.jsonl: expected a result file"),
        ("row cut", f'{_HEADER}\n{{"set":', "r.jsonl:2: cannot be read"),
        ("row of a list", f"{_HEADER}\n[]\n", "r.jsonl:2: cannot be read"),
        ("set of a list", _result(set=[1]), "r.jsonl:2: cannot be read (set and id are no texts)"),
        ("boxes of three numbers", _result(boxes=[[1, 2, 3]]), "r.jsonl:2: cannot be read"),
        ("boxes of text", _result(boxes=["abcd"]), "r.jsonl:2: cannot be read"),
        ("box of NaN", _result(**_BOXES, width=12).replace("[1, 1,", "[NaN, 1,"), "r.jsonl:2: cannot be read"),
        ("label out of range", _result(**{**_BOXES, "labels": [5]}), "r.jsonl:2: cannot be read (labels outside"),
        ("label beyond 64 bits", _result(**{**_BOXES, "labels": [2**70]}), "r.jsonl:2: cannot be read"),
        ("size of infinity", _result(width=float("inf")), "r.jsonl:2: cannot be read"),
        ("fewer scores", _result(**{**_BOXES, "scores": []}), "r.jsonl:2: cannot be read"),
        ("class map of a bomb", _result(class_map=bomb), "r.jsonl:2: cannot be read"),
        ("class map of text", _result(class_map="*"), "r.jsonl:2: cannot be read"),
    )
    for name, content, line in rows:
        yield BadFile(f"results: {name}", "eval r.jsonl --data voc:d@val", {"r.jsonl": content}, line)


def file_cases() -> Iterator[BadFile]:
    """Rows of all these files."""
    yield from _parquet_cases()
    yield from _mat_cases()
    yield from _folder_cases()
    yield from _result_cases()
    for name, command, line in (
        ("no folder", "data convert zzz --to coco --out out", "'zzz': expected FORMAT:ROOT@SPLIT"),
        ("unknown option", "data convert voc:d@train,speed=9 --to coco --out out", "expected an option of"),
        (
            "weight of NaN",
            "data convert voc:d@train,sample_weight=nan --to coco --out out",
            "sample_weight: expected a number above 0",
        ),
        ("split of a fraction", "train --data voc:d@train --val 1.5", "--val 1.5: expected a dataset, or a fraction"),
        ("unknown format", "data convert docx:d@train --to coco --out out", "expected FORMAT:ROOT@SPLIT"),
    ):
        yield BadFile(f"dataset string: {name}", command, {}, line)
    for name, content, line in (
        ("empty folder", {"d/x/y.txt": ""}, "d: expected a dataset of a known format"),
        ("two formats", {"d/a/data.yaml": "names: [cat]\n", "d/b/data.yaml": "names: [cat]\n"}, "recognized 2"),
    ):
        yield BadFile(f"dataset path: {name}", "data convert d --to coco --out out", content, line)
