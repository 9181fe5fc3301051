"""`blitznet predict --formats`: write predictions in the formats of other tools."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from blitznet.cli.files import make_folders, prepare_files, write_json
from blitznet.core.errors import MissingExtra
from blitznet.core.files import atomic_write
from blitznet.core.written_files import record_written

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from blitznet.postprocess.result import Result

FormatName = Literal["yolo", "labelme", "cvat", "coco", "fiftyone", "voc"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)
_SUFFIXES: dict[FormatName, str] = {"yolo": ".txt", "labelme": ".json"}
"""format -> suffix of its file for each image"""
_COMMON_FILES: dict[FormatName, tuple[str, ...]] = {
    "yolo": ("yolo/data.yaml",),
    "labelme": (),
    "cvat": ("cvat/annotations.xml",),
    "coco": ("coco/results.json", "coco/images.json"),
    "fiftyone": ("fiftyone/labels.json",),
    "voc": (),  # one for each class of the model
}
"""format -> its files for all images"""


class FormatWriter:
    """Writes results in several formats, each into its own folder."""

    def __init__(
        self,
        folder: Path,
        formats: Sequence[FormatName],
        class_names: Sequence[str],
        *,
        overwrite: bool = False,
        inputs: Sequence[Path] = (),
    ) -> None:
        """Create the folders.

        Args:
            folder: Parent of the folders, which have the formats' names.
            formats: Formats to write.
            class_names: The model's class names.
            overwrite: Whether files that the package did not write are replaced.
            inputs: Source images, which are never replaced.

        Raises:
            UsageError: A file of all images exists, and the package did not write it.
            MissingExtra: A format needs a package that is not installed.
        """
        self._folder, self._formats, self._class_names = folder, formats, tuple(class_names)
        self._coco_images: list[dict[str, object]] = []  # entries, not results: each result keeps a class map in memory
        self._coco_results: list[dict[str, object]] = []
        self._cvat_images: list[Element] = []
        self._fiftyone_images: dict[str, list[dict[str, Any]]] = {}
        self._voc_lines: dict[str, list[str]] = {name: [] for name in self._class_names}
        self._parent = _parent_of_equal_names(inputs) if formats else None
        self._to_coco = _import_to_coco_results() if "coco" in formats else None  # fails before the first image
        make_folders(*(folder / name for name in formats))
        common = [folder / name for format_name in formats for name in _COMMON_FILES[format_name]]
        if "voc" in formats:
            from blitznet.integrations.voc_server import voc_file

            common += [folder / "voc" / voc_file(name) for name in self._class_names]
        prepare_files(*common, overwrite=overwrite, inputs=inputs)

    def paths(self, name: str) -> list[Path]:
        """The files of one image; `name` is their stem."""
        from blitznet.integrations.voc_server import VOC_CLASS_MAPS

        class_maps = [self._folder / "voc" / VOC_CLASS_MAPS.format(image_id=name)] if "voc" in self._formats else []
        return class_maps + [
            self._folder / format_name / f"{name}{_SUFFIXES[format_name]}"
            for format_name in self._formats
            if format_name in _SUFFIXES
        ]

    def add(self, image: Path, name: str, result: "Result") -> None:
        """Write the result of one image; `name` is the stem of its files."""
        masks = result.class_map is not None
        file_name = self._file_name(image)
        if "yolo" in self._formats:
            from blitznet.integrations.yolo import to_yolo_lines

            self._write(f"yolo/{name}.txt", to_yolo_lines(result))
        if "labelme" in self._formats:
            from blitznet.integrations.labelme import to_labelme

            labelme = to_labelme(result, str(image.resolve()), masks=masks)
            self._write(f"labelme/{name}.json", json.dumps(labelme, indent=1) + "\n")
        if "cvat" in self._formats:
            from blitznet.integrations.cvat import to_cvat_image

            self._cvat_images.append(to_cvat_image(len(self._cvat_images), file_name, result, masks=True))
        if "fiftyone" in self._formats:
            from blitznet.integrations.fiftyone import to_fiftyone_detections

            label = str(Path(file_name).with_suffix(""))
            label = file_name if label in self._fiftyone_images else label  # as of a.jpg and a.png
            self._fiftyone_images[label] = to_fiftyone_detections(result)
        if "voc" in self._formats:
            self._add_voc(name, result)
        if self._to_coco is not None:
            image_id = len(self._coco_images) + 1
            height, width = result.size
            self._coco_images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
            self._coco_results += self._to_coco(result, image_id, range(1, len(self._class_names) + 1), masks=masks)

    def _add_voc(self, name: str, result: "Result") -> None:
        from blitznet.integrations.voc_server import VOC_CLASS_MAPS, to_voc_lines, to_voc_png

        for class_name, lines in to_voc_lines(result, name).items():
            self._voc_lines[class_name] += lines
        png = to_voc_png(result)
        if png is not None:
            path = self._folder / "voc" / VOC_CLASS_MAPS.format(image_id=name)
            atomic_write(path, png, durable=False)
            record_written(path)

    def _file_name(self, image: Path) -> str:
        """The image's name in files of all images: relative to the images' common folder if names occur twice."""
        return image.name if self._parent is None else Path(os.path.abspath(image)).relative_to(self._parent).as_posix()  # noqa: PTH100 - resolve() follows links

    def close(self) -> None:
        """Write the files that contain all images; an error of one does not keep the others from being written."""
        with ExitStack() as stack:
            for format_name in self._formats:
                stack.callback(self._close_format, format_name)

    def _close_format(self, format_name: FormatName) -> None:
        if format_name == "yolo":
            from blitznet.integrations.yolo import to_yolo_data_yaml

            self._write("yolo/data.yaml", to_yolo_data_yaml(self._class_names))
        if format_name == "cvat":
            from blitznet.integrations.cvat import assemble_cvat_xml

            self._write("cvat/annotations.xml", assemble_cvat_xml(self._cvat_images, self._class_names))
        if format_name == "fiftyone":
            from blitznet.integrations.fiftyone import to_fiftyone_labels

            write_json(
                self._folder / "fiftyone" / "labels.json",
                to_fiftyone_labels(self._fiftyone_images.items(), self._class_names),
            )
        if format_name == "voc":
            from blitznet.integrations.voc_server import voc_file

            for class_name, lines in self._voc_lines.items():
                text = "".join(f"{line}\n" for line in lines)
                self._write(f"voc/{voc_file(class_name)}", text)
        if format_name == "coco":
            write_json(self._folder / "coco" / "results.json", self._coco_results)
            write_json(self._folder / "coco" / "images.json", self._coco_ground_truth())

    def _coco_ground_truth(self) -> dict[str, object]:
        """A COCO file without annotations, for the ids in the results."""
        categories = [{"id": category_id, "name": name} for category_id, name in enumerate(self._class_names, start=1)]
        # pycocotools before 2.0.11 fails without `info`
        return {"info": {}, "licenses": [], "images": self._coco_images, "annotations": [], "categories": categories}

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        # file names that are not UTF-8 keep their bytes
        atomic_write(path, text.encode(errors="surrogateescape"), durable=False)
        record_written(path)


def _parent_of_equal_names(images: Sequence[Path]) -> Path | None:
    """The common folder of images of which two have the same name; None if all names differ."""
    if len({image.name for image in images}) == len(images):
        return None
    return Path(os.path.commonpath({os.path.abspath(image.parent) for image in images}))  # noqa: PTH100 - as `_file_name`


def _import_to_coco_results() -> Callable[..., list[dict[str, Any]]]:
    try:
        from blitznet.integrations.coco import to_coco_results
    except ModuleNotFoundError as error:
        raise MissingExtra("--formats coco", "eval") from error
    return to_coco_results
