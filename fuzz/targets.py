"""A function for each parser: it reads bytes as one kind of file, and may raise only the errors of a user's file.

`python -m fuzz.targets` lists the names. `fuzz/run.py` runs one with atheris; `tests/fuzz` runs the kept seeds.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.exceptions import HTTPException

from blitznet.core.errors import BlitzNetError
from blitznet.core.image import ImageSource
from blitznet.core.model_content import require_plain_onnx
from blitznet.core.npz import NPZ_ERRORS, read_npz
from blitznet.core.spec import Spec
from blitznet.data.dataset import IndexedDataset
from blitznet.data.labelstudio import decode_brush
from blitznet.data.masks import IndexMask, decode_coco_rle, parse_compressed_rle
from blitznet.data.sources import open_dataset, parse_source
from blitznet.metrics.results import read_results
from blitznet.serve.payload import Payload, decompress, parse_json, read_image, read_images

Parse = Callable[[bytes], None]
MAX_MESSAGE = 1_200
"""characters of an error's message"""
SIZE = (8, 12)
"""(H, W) of the image beside annotations"""
_LIMIT = 1 << 20
"""bytes of a body after decompression"""
_SEEDS = Path(__file__).parent / "seeds"


@contextmanager
def written(name: str, content: bytes) -> Iterator[Path]:
    """A folder with the file, and images that annotations may name."""
    with tempfile.TemporaryDirectory(prefix="blitznet-fuzz-") as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield Path(folder)


def _read_samples(dataset: IndexedDataset) -> None:
    """Read boxes and class maps of all samples; those with an error are skipped."""
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
            sample.image.size()
            if sample.mask is not None:
                sample.class_map()
        except BlitzNetError as error:
            require_clear(error)


def require_clear(error: BlitzNetError) -> None:
    """Raise AssertionError unless a message is one short line."""
    text = str(error)
    assert text.isprintable(), text
    assert 0 < len(text) < MAX_MESSAGE, len(text)


def _dataset(source: str, name: str, **files: bytes) -> Parse:
    """A parser of one file of a dataset, beside an image `a.png` and other files; those without content are images."""

    def parse(content: bytes) -> None:
        with written(name, content) as folder:
            for path, text in {"a.png": _png(), **files}.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                if path != name:
                    (folder / path).write_bytes(text or _png())
            form, _, split = source.partition("@")
            _read_samples(open_dataset(parse_source(f"{form}:{folder}" + (f"@{split}" if split else ""))))

    return parse


def _png() -> bytes:
    return (_SEEDS / "image" / "rgb.png").read_bytes()


def _image(content: bytes) -> None:
    image = ImageSource(content)
    height, width = image.size()
    image.suffix()
    if height * width < _LIMIT:
        image.read()
        image.resize(SIZE)


def _image_file(content: bytes) -> None:
    with written("a.png", content) as folder:
        ImageSource(folder / "a.png").resize(SIZE)


def _mask(content: bytes) -> None:
    with written("a.png", content) as folder:
        IndexMask(str(folder / "a.png"), num_values=4).read()


def _compressed_runs(content: bytes) -> None:
    decode_coco_rle(parse_compressed_rle(content.decode("latin-1")), SIZE, name="a")


def _brush(content: bytes) -> None:
    decode_brush(list(content), SIZE, "a")


def _spec(content: bytes) -> None:
    Spec.from_json(content.decode("utf-8", "replace"))


def _onnx(content: bytes) -> None:
    with written("a.onnx", content) as folder:
        require_plain_onnx(folder / "a.onnx")


def _openvino(content: bytes) -> None:
    from blitznet.runtime.openvino_engine import read_parts

    with written("a.openvino", content) as folder:
        read_parts(folder / "a.openvino")


def _safetensors(content: bytes) -> None:
    from blitznet.nets.model_files import load_model

    with written("a.safetensors", content) as folder:
        load_model(folder / "a.safetensors")


def _npz(content: bytes) -> None:
    with written("a.npz", content) as folder:
        try:
            read_npz(folder / "a.npz", limit=_LIMIT)
        except NPZ_ERRORS as error:
            raise BlitzNetError("a.npz: broken") from error


def _soft_labels(content: bytes) -> None:
    from blitznet.data.soft_labels import read_soft_labels

    with written("a.npz", content) as folder:
        read_soft_labels(folder / "a.npz")


def _results(content: bytes) -> None:
    with written("a.jsonl", content) as folder:
        stored = read_results(folder / "a.jsonl")
        for result in stored.by_image.values():
            json.dumps(result.to_dict())


def _detect(content: bytes) -> None:
    """Recognition of a JSON file's format."""
    with written("data.json", content) as folder:
        open_dataset(parse_source(str(folder / "data.json")))


def _require_client_error(error: HTTPException) -> None:
    assert 400 <= error.status_code < 500, error.status_code


def _body(content: bytes) -> None:
    """A request: the first line is its Content-Type."""
    head, _, body = content.partition(b"\n")
    readers: tuple[Callable[[], Payload], ...] = (
        lambda: read_image(body, head.decode("latin-1")),
        lambda: read_images(body, head.decode("latin-1"), 8),
    )
    for read in readers:
        try:
            payload = read()
        except HTTPException as error:
            _require_client_error(error)
            continue
        for image in payload.images:
            try:
                ImageSource(image).size()
            except BlitzNetError as error:
                require_clear(error)


def _json_body(content: bytes) -> None:
    try:
        parse_json(content)
    except (ValueError, RecursionError) as error:
        raise BlitzNetError("broken JSON") from error


def _compressed_body(content: bytes) -> None:
    for encoding in ("gzip", "deflate"):
        try:
            assert len(decompress(content, encoding, _LIMIT)) <= _LIMIT
        except HTTPException as error:
            _require_client_error(error)


_VOC_LIST = {"ImageSets/Main/train.txt": b"a\n"}
_SUPERVISELY = {"meta.json": b'{"classes": [{"title": "cat"}, {"title": "dog"}]}', "ds/img/a.png": b""}
_YOLO = {"data.yaml": b"train: .\nnames: [cat, dog]\n"}
_DARKNET = {
    "obj.data": b"names = obj.names\ntrain = train.txt\n",
    "obj.names": b"cat\ndog\n",
    "a.txt": b"0 .5 .5 .1 .1",
}
_FOLDER = {"images/a.png": b"", "classes.txt": b"background\ncat\ndog\n"}

TARGETS: dict[str, Parse] = {
    "image": _image,
    "image-file": _image_file,
    "mask": _mask,
    "voc-xml": _dataset("voc@train", "Annotations/a.xml", **_VOC_LIST),
    "voc-list": _dataset("voc@train", "ImageSets/Main/train.txt", **{"Annotations/a.xml": b"<annotation/>"}),
    "coco": _dataset("coco", "a.json"),
    "coco-runs": _compressed_runs,
    "yolo-labels": _dataset("yolo@train", "a.txt", **_YOLO),
    "yolo-yaml": _dataset("yolo@train", "data.yaml", **{"a.txt": b"0 .5 .5 .1 .1\n"}),
    "darknet": _dataset("darknet@train", "train.txt", **_DARKNET),
    "darknet-data": _dataset("darknet@train", "obj.data", **{**_DARKNET, "train.txt": b"a.png\n"}),
    "labelme": _dataset("labelme", "a.json"),
    "cvat": _dataset("cvat", "annotations.xml"),
    "cvat-video": _dataset("cvat", "annotations.xml", **{"frame_000000.png": b"", "frame_000002.png": b""}),
    "csv": _dataset("csv", "boxes.csv"),
    "labelstudio": _dataset("labelstudio", "tasks.json"),
    "labelstudio-brush": _brush,
    "via": _dataset("via", "via.json"),
    "via-csv": _dataset("via", "via.csv"),
    "supervisely": _dataset("supervisely", "ds/ann/a.png.json", **_SUPERVISELY),
    "huggingface": _dataset("huggingface", "metadata.jsonl"),
    "parquet": _dataset("huggingface", "data/train.parquet"),
    "mat": _dataset("sbd@train", "cls/a.mat", **{"train.txt": b"a\n", "img/a.jpg": b""}),
    "color-table": _dataset("folder", "labelmap.txt", **{**_FOLDER, "masks/a.png": b""}),
    "results": _results,
    "detect": _detect,
    "spec": _spec,
    "onnx": _onnx,
    "openvino": _openvino,
    "safetensors": _safetensors,
    "npz": _npz,
    "soft-labels": _soft_labels,
    "body": _body,
    "body-json": _json_body,
    "body-compressed": _compressed_body,
}
"""name -> parser"""


def run_target(name: str, content: bytes) -> None:
    """Parse bytes; an error of a user's file must be one line, and any other error is a finding."""
    try:
        TARGETS[name](content)
    except BlitzNetError as error:
        require_clear(error)


if __name__ == "__main__":
    print("\n".join(TARGETS))
