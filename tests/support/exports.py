"""Synthetic images in the layouts that labeling tools and sites export."""

import base64
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from support import synthetic_data
from support.synthetic_data import NAMES, Drawing


def write_darknet(root: Path, drawings: Sequence[Drawing]) -> None:
    """CVAT's YOLO 1.1: paths begin with a folder `data` that is not there."""
    synthetic_data.write_yolo(root / "yolo", drawings, outlines=False)
    folder = root / "obj_train_data"
    folder.mkdir(parents=True)
    for source in ("images", "labels"):
        for path in sorted((root / "yolo" / source / "train").iterdir()):
            path.rename(folder / path.name)
    for path in sorted((root / "yolo").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / "yolo").rmdir()
    (root / "obj.names").write_text("".join(f"{name}\n" for name in NAMES))
    lines = ["classes = 3", "train = data/train.txt", "names = data/obj.names", "backup = backup/"]
    (root / "obj.data").write_text("\n".join(lines) + "\n")
    (root / "train.txt").write_text("".join(f"data/obj_train_data/{d.id}.png\n" for d in drawings))


COLORS = np.asarray([[0, 0, 0], [250, 50, 83], [61, 61, 245], [255, 204, 51]], np.uint8)
"""a color for background and for each class"""


def write_roboflow_masks(root: Path, drawings: Sequence[Drawing]) -> None:
    """Roboflow's semantic segmentation masks."""
    for drawing in drawings:
        synthetic_data.write_image(root / "train" / f"{drawing.id}.png", drawing)
        Image.fromarray(drawing.class_map).save(root / "train" / f"{drawing.id}_mask.png")
    lines = ["Pixel Value, Class", " 0, background", *(f" {k}, {name}" for k, name in enumerate(NAMES, 1))]
    (root / "train" / "_classes.csv").write_text("\n".join(lines) + "\n")


def write_color_masks(root: Path, drawings: Sequence[Drawing]) -> None:
    """Images, masks of colors and the table of colors that is common on Kaggle."""
    for drawing in drawings:
        synthetic_data.write_image(root / "images" / f"{drawing.id}.png", drawing)
        (root / "masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(COLORS[drawing.class_map]).save(root / "masks" / f"{drawing.id}.png")
    rows = zip(("background", *NAMES), COLORS.tolist(), strict=True)
    (root / "class_dict.csv").write_text("name,r,g,b\n" + "".join(f"{n},{r},{g},{b}\n" for n, (r, g, b) in rows))


def write_cvat_masks(root: Path, drawings: Sequence[Drawing]) -> None:
    """CVAT's Segmentation mask 1.1 with images."""
    for drawing in drawings:
        synthetic_data.write_image(root / "JPEGImages" / f"{drawing.id}.png", drawing)
        for folder in ("SegmentationClass", "SegmentationObject"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(COLORS[drawing.class_map]).save(root / folder / f"{drawing.id}.png")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("".join(f"{d.id}\n" for d in drawings))
    rows = zip(("background", *NAMES), COLORS.tolist(), strict=True)
    lines = ["# label:color_rgb:parts:actions", *(f"{n}:{r},{g},{b}::" for n, (r, g, b) in rows)]
    (root / "labelmap.txt").write_text("\n".join(lines) + "\n")


def write_roboflow_coco(root: Path, drawings: Sequence[Drawing]) -> None:
    """Roboflow's COCO: a file in the folder of each split, and a category that groups the others."""
    for split, part in (("train", drawings[:-2]), ("valid", drawings[-2:])):
        synthetic_data.write_coco(root, part, split)
        path = root / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        for category in content["categories"]:
            category["supercategory"] = "shapes"
        content["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
        path.unlink()
    (root / "annotations").rmdir()
    (root / "README.roboflow.txt").write_text("shapes")


def write_roboflow_yolo(root: Path, drawings: Sequence[Drawing]) -> None:
    """Roboflow's YOLO: train and valid folders beside data.yaml, whose paths begin with `../`."""
    for split, part in (("train", drawings[:-2]), ("valid", drawings[-2:])):
        synthetic_data.write_yolo(root / "source", part, split)
        for name in ("images", "labels"):
            (root / split).mkdir(exist_ok=True)
            (root / "source" / name / split).rename(root / split / name)
    lines = ["train: ../train/images", "val: ../valid/images", "test: ../test/images", "nc: 3", f"names: {list(NAMES)}"]
    (root / "data.yaml").write_text("\n".join([*lines, "roboflow:", "  license: CC BY 4.0"]) + "\n")


def write_label_studio_yolo(root: Path, drawings: Sequence[Drawing]) -> None:
    """Label Studio's YOLO: images, labels, classes.txt and notes.json."""
    synthetic_data.write_yolo(root / "source", drawings)
    for name in ("images", "labels"):
        (root / "source" / name / "train").rename(root / name)
    (root / "source" / "data.yaml").unlink()
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES))
    (root / "notes.json").write_text(json.dumps({"categories": [{"id": k, "name": n} for k, n in enumerate(NAMES)]}))


def write_label_studio_coco(root: Path, drawings: Sequence[Drawing]) -> None:
    """Label Studio's COCO: result.json beside the folder of the images."""
    synthetic_data.write_coco(root, drawings)
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    for image in content["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    (root / "result.json").write_text(json.dumps(content))
    (root / "train").rename(root / "images")
    (root / "annotations" / "instances_train.json").unlink()
    (root / "annotations").rmdir()


def write_labelimg(root: Path, drawings: Sequence[Drawing]) -> None:
    """labelImg: images and XML files in two folders, without lists."""
    synthetic_data.write_voc(root / "source", drawings)
    (root / "source" / "JPEGImages").rename(root / "images")
    (root / "source" / "Annotations").rename(root / "annotations")


def write_roboflow_voc(root: Path, drawings: Sequence[Drawing]) -> None:
    """Roboflow's VOC: images and XML files side by side in the folder of each split."""
    synthetic_data.write_voc(root.parent / "voc source", drawings)
    for number, drawing in enumerate(drawings):
        folder = root / ("valid" if number >= len(drawings) - 2 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        for name in (f"JPEGImages/{drawing.id}.png", f"Annotations/{drawing.id}.xml"):
            source = root.parent / "voc source" / name
            source.rename(folder / source.name)


def _pairs(polygon: Sequence[float]) -> list[list[float]]:
    return [list(pair) for pair in zip(polygon[::2], polygon[1::2], strict=True)]


def _corners(box: NDArray[np.float32]) -> list[float]:
    return [float(value) for value in box]


def write_labelme(root: Path, drawings: Sequence[Drawing]) -> None:
    """labelme: a JSON file beside each image; a polygon, or a mask every other time."""
    for drawing in drawings:
        synthetic_data.write_image(root / f"{drawing.id}.png", drawing)
        height, width = drawing.class_map.shape
        shapes = []
        for m, label in enumerate(drawing.labels):
            shape: dict[str, Any] = {"label": NAMES[label], "group_id": None, "flags": {}, "shape_type": "polygon"}
            x1, y1, x2, y2 = (int(value) for value in drawing.boxes[m])
            if m % 2:
                png = BytesIO()
                Image.fromarray(drawing.instance_masks[m][y1:y2, x1:x2]).save(png, "PNG")
                text = base64.b64encode(png.getvalue()).decode()
                shapes.append({**shape, "shape_type": "mask", "points": [[x1, y1], [x2 - 1, y2 - 1]], "mask": text})
            else:
                shapes.append({**shape, "points": _pairs(drawing.polygons[m])})
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"..\\x\\{drawing.id}.png",
        }
        content.update({"imageData": None, "imageHeight": height, "imageWidth": width})
        (root / f"{drawing.id}.json").write_text(json.dumps(content))


def write_cvat(root: Path, drawings: Sequence[Drawing]) -> None:
    """CVAT for images 1.1: polygons, or masks every other time; the highest is the last in z_order."""
    images = []
    for number, drawing in enumerate(drawings):
        synthetic_data.write_image(root / "images" / f"{drawing.id}.png", drawing)
        height, width = drawing.class_map.shape
        elements = []
        for m, label in enumerate(drawing.labels):
            common = f'label="{NAMES[label]}" source="manual" occluded="0" z_order="{m}"'
            x1, y1, x2, y2 = (int(value) for value in drawing.boxes[m])
            if m % 2:
                runs = ", ".join(map(str, _row_runs(drawing.instance_masks[m][y1:y2, x1:x2])))
                corner = f'left="{x1}" top="{y1}" width="{x2 - x1}" height="{y2 - y1}"'
                elements.append(f'<mask {common} rle="{runs}" {corner}></mask>')
            else:
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in _pairs(drawing.polygons[m]))
                elements.append(f'<polygon {common} points="{points}"></polygon>')
        attributes = f'id="{number}" name="{drawing.id}.png" width="{width}" height="{height}"'
        images.append(f"<image {attributes}>{''.join(reversed(elements))}</image>")
    labels = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in NAMES)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    content = f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"
    (root / "annotations.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>{content}')


def _row_runs(mask: NDArray[np.bool_]) -> list[int]:
    values = np.concatenate([[False], mask.ravel()])  # begins with background
    edges = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff(np.concatenate([[0], edges, [len(values)]]))
    return [int(runs[0]) - 1, *map(int, runs[1:])]


def pack_brush(values: NDArray[np.uint8]) -> list[int]:
    """Bytes in the run-length code of `@thi.ng/rle-pack`, with runs of up to 2 ** 16 equal bytes."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (4, 8, 12, 16))
    edges = np.flatnonzero(np.diff(values.astype(np.int16))) + 1
    for start, end in zip([0, *edges], [*edges, len(values)], strict=True):
        for position in range(int(start), int(end), 1 << 16):
            length = min(int(end) - position, 1 << 16)
            bits += f"1{3:02b}{length - 1:016b}{int(values[position]):08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def write_labelme_embedded(root: Path, drawings: Sequence[Drawing]) -> None:
    """labelme's JSON files alone, with the images inside."""
    write_labelme(root, drawings)
    for drawing in drawings:
        image, path = root / f"{drawing.id}.png", root / f"{drawing.id}.json"
        content = json.loads(path.read_text()) | {"imageData": base64.b64encode(image.read_bytes()).decode()}
        path.write_text(json.dumps(content))
        image.unlink()


def write_label_studio_brushes(root: Path, drawings: Sequence[Drawing]) -> None:
    """Label Studio's brush masks as PNG, with JSON-MIN and the images beside them."""
    tasks = []
    for number, drawing in enumerate(drawings, 1):
        synthetic_data.write_image(root / "images" / f"{drawing.id}.png", drawing)
        tasks.append({"id": number, "image": f"/data/upload/3/{number:08x}-{drawing.id}.png", "annotator": 1})
        for m, label in enumerate(drawing.labels):
            name = f"task-{number}-annotation-{number + 40}-by-1-tag-{NAMES[label]}-{m}.png"
            Image.fromarray(np.where(drawing.instance_masks[m], 255, 0).astype(np.uint8)).save(root / name)
    (root / "project-3-at-2026-11-30.json").write_text(json.dumps(tasks))


def write_makesense_csv(root: Path, drawings: Sequence[Drawing]) -> None:
    """makesense's CSV of boxes, whose pixels are whole numbers, beside the images."""
    lines = []
    for drawing in drawings:
        synthetic_data.write_image(root / f"{drawing.id}.png", drawing)
        height, width = drawing.class_map.shape
        for label, box in zip(drawing.labels, drawing.boxes, strict=True):
            x1, y1, x2, y2 = (round(value) for value in box.tolist())
            lines.append(f"{NAMES[label]},{x1},{y1},{x2 - x1},{y2 - y1},{drawing.id}.png,{width},{height}")
    (root / "labels_my-project-name_2026-11-30-10-00-00.csv").write_text("\n".join(lines))


def write_cvat_video(root: Path, drawings: Sequence[Drawing]) -> None:
    """CVAT for video 1.1 of a task of images: an object of frame k is a track of its own, which ends in frame k + 1."""
    height, width = drawings[0].class_map.shape
    tracks: list[str] = []
    for frame, drawing in enumerate(sorted(drawings, key=lambda drawing: drawing.id)):
        synthetic_data.write_image(root / "images" / f"{drawing.id}.png", drawing)
        for label, box in zip(drawing.labels, drawing.boxes, strict=True):
            corners = " ".join(
                f'{k}="{v:.2f}"' for k, v in zip(("xtl", "ytl", "xbr", "ybr"), box.tolist(), strict=True)
            )
            shapes = [
                f'<box frame="{number}" outside="{outside}" occluded="0" keyframe="1" {corners} z_order="0"/>'
                for number, outside in ((frame, 0), (frame + 1, 1))
            ]
            tracks.append(f'<track id="{len(tracks)}" label="{NAMES[label]}" source="manual">{"".join(shapes)}</track>')
    labels = "".join(f"<label><name>{name}</name><type>any</type></label>" for name in NAMES)
    size = f"<original_size><width>{width}</width><height>{height}</height></original_size>"
    meta = f"<meta><task><size>{len(drawings)}</size><labels>{labels}</labels>{size}</task></meta>"
    content = f"<annotations><version>1.1</version>{meta}{''.join(tracks)}</annotations>"
    (root / "annotations.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>{content}')


def write_label_studio(root: Path, drawings: Sequence[Drawing]) -> None:
    """Label Studio's JSON: polygons, or brush masks every other time; names have the prefix of an upload."""
    tasks = []
    for number, drawing in enumerate(drawings):
        synthetic_data.write_image(root / "images" / f"{drawing.id}.png", drawing)
        height, width = drawing.class_map.shape
        results = []
        for m, label in enumerate(drawing.labels):
            kind = "brushlabels" if m % 2 else "polygonlabels"
            value: dict[str, Any] = {kind: [NAMES[label]]}
            if m % 2:
                alpha = np.where(drawing.instance_masks[m], 255, 0).astype(np.uint8)
                value |= {"format": "rle", "rle": pack_brush(np.repeat(alpha.ravel(), 4))}
            else:
                value["points"] = [[x * 100 / width, y * 100 / height] for x, y in _pairs(drawing.polygons[m])]
            results.append({"type": kind, "value": value, "original_width": width, "original_height": height})
        results.append({"type": "choices", "value": {"choices": ["good"]}})
        annotations = [{"was_cancelled": True, "result": []}, {"was_cancelled": False, "result": results}]
        image = f"/data/upload/3/{number:08x}-{drawing.id}.png"
        tasks.append({"id": number, "data": {"image": image}, "annotations": annotations})
    (root / "project-3-at-2026-11-30.json").write_text(json.dumps(tasks))


def _via_entries(drawings: Sequence[Drawing]) -> dict[str, dict[str, Any]]:
    entries = {}
    for drawing in drawings:
        regions = [
            {
                "shape_attributes": {
                    "name": "polygon",
                    "all_points_x": list(drawing.polygons[m][::2]),
                    "all_points_y": list(drawing.polygons[m][1::2]),
                },
                "region_attributes": {"type": NAMES[label]},
            }
            for m, label in enumerate(drawing.labels)
        ]
        entries[f"{drawing.id}.png123"] = {"filename": f"{drawing.id}.png", "size": 123, "regions": regions}
    return entries


def write_via_json(root: Path, drawings: Sequence[Drawing]) -> None:
    """A project of VIA beside the images."""
    for drawing in drawings:
        synthetic_data.write_image(root / f"{drawing.id}.png", drawing)
    content = {"_via_settings": {}, "_via_img_metadata": _via_entries(drawings), "_via_attributes": {}}
    (root / "via_project.json").write_text(json.dumps(content))


def write_via_csv(root: Path, drawings: Sequence[Drawing]) -> None:
    """A CSV export of VIA beside the images."""
    columns = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    lines = [columns]
    for drawing in drawings:
        synthetic_data.write_image(root / f"{drawing.id}.png", drawing)
    for entry in _via_entries(drawings).values():
        for number, region in enumerate(entry["regions"] or [{"shape_attributes": {}, "region_attributes": {}}]):
            cells = [json.dumps(region[key]).replace('"', '""') for key in ("shape_attributes", "region_attributes")]
            quoted = ",".join(f'"{cell}"' for cell in cells)
            lines.append(f'{entry["filename"]},123,"{{}}",{len(entry["regions"])},{number},{quoted}')
    (root / "via_export_csv.csv").write_text("\n".join(lines) + "\n")


def _objects_column(drawing: Drawing) -> dict[str, Any]:
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in map(_corners, drawing.boxes)]
    return {"bbox": boxes, "categories": [int(label) for label in drawing.labels]}


def write_huggingface_folder(root: Path, drawings: Sequence[Drawing]) -> None:
    """An image folder of Hugging Face with metadata.jsonl in each split."""
    for split, part in (("train", drawings[:-2]), ("validation", drawings[-2:])):
        lines = []
        for drawing in part:
            synthetic_data.write_image(root / split / f"{drawing.id}.png", drawing)
            objects = _objects_column(drawing)
            names = [NAMES[label] for label in objects["categories"]]
            lines.append(json.dumps({"file_name": f"{drawing.id}.png", "objects": {**objects, "categories": names}}))
        (root / split / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def write_parquet(root: Path, drawings: Sequence[Drawing]) -> None:
    """Parquet files as `datasets` writes them, with the names of the categories in the schema."""
    import pyarrow
    import pyarrow.parquet

    (root / "data").mkdir(parents=True)
    feature = {"bbox": [{"_type": "Value"}], "categories": {"feature": {"names": list(NAMES), "_type": "ClassLabel"}}}
    features = {"image": {"_type": "Image"}, "objects": feature}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    for split, part in (("train", drawings[:-2]), ("validation", drawings[-2:])):
        rows = []
        for drawing in part:
            png = BytesIO()
            Image.fromarray(drawing.image).save(png, "PNG")
            image = {"bytes": png.getvalue(), "path": f"{drawing.id}.png"}
            rows.append({"image": image, "objects": _objects_column(drawing)})
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(
            table.replace_schema_metadata(metadata), root / "data" / f"{split}-00000-of-00001.parquet", row_group_size=2
        )


def write_supervisely(root: Path, drawings: Sequence[Drawing]) -> None:
    """A project of Supervisely: polygons, or bitmaps every other time."""
    (root / "ds0" / "ann").mkdir(parents=True)
    for drawing in drawings:
        synthetic_data.write_image(root / "ds0" / "img" / f"{drawing.id}.png", drawing)
        height, width = drawing.class_map.shape
        objects: list[dict[str, Any]] = []
        for m, label in enumerate(drawing.labels):
            x1, y1, x2, y2 = (int(value) for value in drawing.boxes[m])
            if m % 2:
                png = BytesIO()
                Image.fromarray(drawing.instance_masks[m][y1:y2, x1:x2]).save(png, "PNG")
                data = base64.b64encode(zlib.compress(png.getvalue())).decode()
                shape = {"geometryType": "bitmap", "bitmap": {"origin": [x1, y1], "data": data}}
            else:
                points = {"exterior": _pairs(drawing.polygons[m]), "interior": []}
                shape = {"geometryType": "polygon", "points": points}
            objects.append({"classTitle": NAMES[label], **shape})
        content = {"size": {"height": height, "width": width}, "objects": objects, "tags": []}
        (root / "ds0" / "ann" / f"{drawing.id}.png.json").write_text(json.dumps(content))
    classes = [{"title": name, "shape": "any", "color": "#FF0000"} for name in NAMES]
    (root / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))


@dataclass(frozen=True)
class Export:
    """One layout."""

    write: Callable[[Path, Sequence[Drawing]], object]
    format: str
    """format that is recognized"""
    name: str
    """name that is shown"""
    boxes: bool = True
    masks: bool = True
    splits: bool = False
    """whether the last two drawings are in an evaluation split"""


EXPORTS = {
    "roboflow coco": Export(write_roboflow_coco, "coco", "Roboflow COCO", splits=True),
    "roboflow yolo": Export(write_roboflow_yolo, "yolo", "Roboflow YOLO", splits=True),
    "roboflow voc": Export(write_roboflow_voc, "voc", "Pascal VOC files without lists", masks=False, splits=True),
    "roboflow masks": Export(write_roboflow_masks, "folder", "Roboflow masks", boxes=False),
    "coco": Export(synthetic_data.write_coco, "coco", "COCO"),
    "voc": Export(synthetic_data.write_voc, "voc", "Pascal VOC"),
    "yolo": Export(synthetic_data.write_yolo, "yolo", "YOLO"),
    "folder": Export(synthetic_data.write_folder, "folder", "mask folder", boxes=False),
    "labelimg": Export(write_labelimg, "voc", "Pascal VOC files without lists", masks=False),
    "label studio yolo": Export(write_label_studio_yolo, "yolo", "YOLO without data.yaml"),
    "label studio coco": Export(write_label_studio_coco, "coco", "COCO"),
    "label studio": Export(write_label_studio, "labelstudio", "Label Studio tasks"),
    "labelme": Export(write_labelme, "labelme", "labelme"),
    "labelme with images inside": Export(write_labelme_embedded, "labelme", "labelme"),
    "label studio brushes": Export(write_label_studio_brushes, "labelstudio", "Label Studio brush masks"),
    "makesense csv": Export(write_makesense_csv, "csv", "CSV of boxes", masks=False),
    "cvat video": Export(write_cvat_video, "cvat", "CVAT for video", masks=False),
    "cvat": Export(write_cvat, "cvat", "CVAT for images"),
    "cvat yolo": Export(write_darknet, "darknet", "Darknet YOLO", masks=False),
    "cvat masks": Export(write_cvat_masks, "voc", "CVAT segmentation masks", boxes=False),
    "color masks": Export(write_color_masks, "folder", "color masks", boxes=False),
    "via json": Export(write_via_json, "via", "VIA"),
    "via csv": Export(write_via_csv, "via", "VIA"),
    "hugging face folder": Export(
        write_huggingface_folder, "huggingface", "Hugging Face image folder", masks=False, splits=True
    ),
    "hugging face parquet": Export(write_parquet, "huggingface", "Hugging Face Parquet", masks=False, splits=True),
    "supervisely": Export(write_supervisely, "supervisely", "Supervisely"),
}
