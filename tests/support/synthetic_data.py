"""A synthetic dataset: bright shapes of three classes on noise, written in every annotation format.

All edges of the shapes are horizontal or vertical and lie on whole pixels, so the polygon, the box and the mask of a
shape agree to the pixel.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blitznet.core.arrays import Boxes, ClassMap, Labels, RGBArray
from blitznet.core.classes import palette
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample

NAMES = ("cross", "ell", "square")
_COLORS = np.asarray([[40, 230, 60], [60, 80, 250], [250, 60, 40]], np.uint8)
# corners of each shape in order, in quarters of its box
_CORNERS = (
    ((1, 0), (3, 0), (3, 1), (4, 1), (4, 3), (3, 3), (3, 4), (1, 4), (1, 3), (0, 3), (0, 1), (1, 1)),
    ((0, 0), (2, 0), (2, 2), (4, 2), (4, 4), (0, 4)),
    ((0, 0), (4, 0), (4, 4), (0, 4)),
)


@dataclass(frozen=True, slots=True, eq=False)
class ArrayMask:
    """A mask in memory."""

    values: ClassMap

    def read(self) -> ClassMap:
        return self.values


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """One synthetic image with its annotations; later shapes cover earlier ones."""

    id: str
    image: RGBArray
    boxes: Boxes
    labels: Labels
    polygons: tuple[tuple[float, ...], ...]
    instance_masks: NDArray[np.bool_]
    """(M, H, W) the pixels of each shape, covered or not"""
    class_map: ClassMap

    @property
    def sample(self) -> Sample:
        """The drawing as a Sample in memory, with everything annotated."""
        count, classes = len(self.labels), np.ones(len(NAMES), np.bool_)
        return Sample(
            id=self.id,
            image=ImageSource(self.image),
            boxes=self.boxes,
            labels=self.labels,
            difficult=np.zeros(count, np.bool_),
            crowd=np.zeros(count, np.bool_),
            annotated_box_classes=classes,
            annotated_mask_classes=classes,
            mask=ArrayMask(self.class_map),
        )


def draw(count: int = 6, *, size: tuple[int, int] = (96, 120), seed: int = 0) -> list[Drawing]:
    """`count` images of `size` (H, W) with one to four shapes each; if there are more than two, the last is empty."""
    rng = np.random.default_rng(seed)
    return [
        _drawing(f"toy_{k:04d}", 0 if k == count - 1 and count > 2 else int(rng.integers(1, 5)), size, rng)
        for k in range(count)
    ]


def _drawing(name: str, count: int, size: tuple[int, int], rng: np.random.Generator) -> Drawing:
    height, width = size
    image = rng.integers(0, 110, (height, width, 3), dtype=np.uint8)
    class_map = np.zeros(size, np.uint8)
    instance_masks = np.zeros((count, *size), np.bool_)
    labels = rng.integers(0, len(NAMES), count)
    boxes, polygons = [], []
    for k, label in enumerate(labels):
        step = int(rng.integers(4, min(size) // 8 + 1))
        x = int(rng.integers(0, width - 4 * step + 1))
        y = int(rng.integers(0, height - 4 * step + 1))
        instance_masks[k] = _shape_mask(int(label), (x, y, step), size)
        image[instance_masks[k]] = _COLORS[label]
        class_map[instance_masks[k]] = label + 1
        boxes.append((x, y, x + 4 * step, y + 4 * step))
        polygons.append(tuple(float(v) for dx, dy in _CORNERS[label] for v in (x + dx * step, y + dy * step)))
    return Drawing(
        id=name,
        image=image,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=labels.astype(np.int64),
        polygons=tuple(polygons),
        instance_masks=instance_masks,
        class_map=class_map,
    )


def _shape_mask(label: int, corner_and_step: tuple[int, int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    x, y, step = corner_and_step
    mask = np.zeros(size, np.bool_)
    for x1, y1, x2, y2 in ([(1, 0, 3, 4), (0, 1, 4, 3)], [(0, 0, 2, 4), (0, 2, 4, 4)], [(0, 0, 4, 4)])[label]:
        mask[y + y1 * step : y + y2 * step, x + x1 * step : x + x2 * step] = True
    return mask


def write_image(path: Path, drawing: Drawing) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawing.image).save(path)


def write_mask(path: Path, class_map: ClassMap) -> None:
    """A palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", class_map.shape[::-1], class_map.tobytes())
    image.putpalette(palette().reshape(-1).tolist())
    image.save(path)


def write_voc(root: Path, drawings: Sequence[Drawing], split: str = "train", *, names: Sequence[str] = NAMES) -> str:
    """Write a VOC devkit folder with these class names; return the set as written on the command line."""
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{d.id}\n" for d in drawings))
    for d in drawings:
        write_image(root / "JPEGImages" / f"{d.id}.png", d)
        write_mask(root / "SegmentationClass" / f"{d.id}.png", d.class_map)
        objects = "".join(_voc_object(box.tolist(), names[label]) for box, label in zip(d.boxes, d.labels, strict=True))
        text = f"<annotation><filename>{d.id}.png</filename>{objects}</annotation>"
        (root / "Annotations" / f"{d.id}.xml").write_text(text)
    return f"voc:{root}@{split}"


def _voc_object(box: list[float], name: str) -> str:
    x1, y1, x2, y2 = box
    coordinates = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>{name}</name><bndbox>{coordinates}</bndbox></object>"


def write_coco(root: Path, drawings: Sequence[Drawing], split: str = "train", *, outlines: bool = True) -> str:
    """Write a COCO folder with sparse ids; shapes alternate between polygon, RLE and compressed RLE."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for k, d in enumerate(drawings):
        height, width = d.class_map.shape
        name = f"{d.id}.png"
        write_image(root / split / name, d)
        images.append({"id": 100 + 7 * k, "file_name": name, "height": height, "width": width})
        for m in range(len(d.labels)):
            item = _coco_annotation(d, m, outlines=outlines)
            annotations.append({**item, "id": len(annotations) + 1, "image_id": 100 + 7 * k})
    categories = [{"id": 5 + 10 * k, "name": name} for k, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories[::-1]}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return f"coco:{root}@{split}"


def _coco_annotation(d: Drawing, m: int, *, outlines: bool) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, d.boxes[m])
    item: dict[str, Any] = {
        "category_id": 5 + 10 * int(d.labels[m]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(d.instance_masks[m].sum()),
        "iscrowd": 0,
    }
    if outlines:
        counts = coco_counts(d.instance_masks[m])
        size = list(d.class_map.shape)
        item["segmentation"] = (
            [list(d.polygons[m])],
            {"size": size, "counts": counts},
            {"size": size, "counts": compress_counts(counts)},
        )[m % 3]
    return item


def coco_counts(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's RLE counts: column-major, background first."""
    flat = np.concatenate([[False], mask.T.reshape(-1)])
    changes = np.flatnonzero(np.diff(flat))
    edges = np.concatenate([[0], changes, [mask.size]])
    return [int(run) for run in np.diff(edges)]


def compress_counts(counts: Sequence[int]) -> str:
    """COCO's compressed RLE."""
    letters = []
    for k, count in enumerate(counts):
        value = count - counts[k - 2] if k > 2 else count
        more = True
        while more:
            code = value & 31
            value >>= 5
            more = value != (-1 if code & 16 else 0)
            letters.append(chr(48 + (code | 32 if more else code)))
    return "".join(letters)


def write_yolo(root: Path, drawings: Sequence[Drawing], split: str = "train", *, outlines: bool = True) -> str:
    """Write a YOLO folder with polygons or boxes; an empty image has an empty label file."""
    lines = [f"{split}: images/{split}", "names:", *(f"  {k}: {name}" for k, name in enumerate(NAMES))]
    (root / "labels" / split).mkdir(parents=True, exist_ok=True)
    (root / "data.yaml").write_text("\n".join(lines) + "\n")
    for d in drawings:
        write_image(root / "images" / split / f"{d.id}.png", d)
        text = "".join(f"{_yolo_line(d, m, outlines=outlines)}\n" for m in range(len(d.labels)))
        (root / "labels" / split / f"{d.id}.txt").write_text(text)
    return f"yolo:{root}@{split}"


def _yolo_line(d: Drawing, m: int, *, outlines: bool) -> str:
    height, width = d.class_map.shape
    x1, y1, x2, y2 = map(float, d.boxes[m])
    box = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
    polygon = tuple(v / (height if k % 2 else width) for k, v in enumerate(d.polygons[m]))
    return " ".join([str(d.labels[m]), *(f"{v:.8f}" for v in (polygon if outlines else box))])


def write_folder(root: Path, drawings: Sequence[Drawing], *, background: bool = True) -> str:
    """Write images, masks and classes.txt; without `background`, mask value 0 is the first class."""
    root.mkdir(parents=True, exist_ok=True)
    names = ("background", *NAMES) if background else NAMES
    (root / "classes.txt").write_text("\n".join(names) + "\n")
    for d in drawings:
        write_image(root / "images" / f"{d.id}.png", d)
        values = d.class_map if background else d.class_map - np.uint8(1)  # 0 becomes 255, ignored
        write_mask(root / "masks" / f"{d.id}.png", values)
    return f"folder:{root}"
