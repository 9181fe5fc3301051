"""`blitznet predict --formats`: write predictions in the formats of other tools."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from blitznet.cli.files import make_folders, write_json
from blitznet.core.errors import MissingExtra
from blitznet.core.files import translate_write_errors

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from blitznet.postprocess.result import Result

FormatName = Literal["yolo", "labelme", "cvat", "coco"]
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)


class FormatWriter:
    """Writes results in several formats, each into its own folder."""

    def __init__(self, folder: Path, formats: Sequence[FormatName], class_names: Sequence[str]) -> None:
        """Create the folders.

        Args:
            folder: Parent of the folders, which have the formats' names.
            formats: Formats to write.
            class_names: The model's class names.

        Raises:
            MissingExtra: A format needs a package that is not installed.
        """
        self._folder, self._formats, self._class_names = folder, formats, tuple(class_names)
        self._coco_images: list[dict[str, object]] = []  # entries, not results: each result keeps a class map in memory
        self._coco_results: list[dict[str, object]] = []
        self._cvat_images: list[Element] = []
        self._to_coco = _import_to_coco_results() if "coco" in formats else None  # fails before the first image
        make_folders(*(folder / name for name in formats))

    def add(self, image: Path, name: str, result: "Result") -> None:
        """Write the result of one image; `name` is the stem of its files."""
        masks = result.class_map is not None
        if "yolo" in self._formats:
            from blitznet.integrations.yolo import to_yolo_lines

            self._write(f"yolo/{name}.txt", to_yolo_lines(result))
        if "labelme" in self._formats:
            from blitznet.integrations.labelme import to_labelme

            labelme = to_labelme(result, str(image.resolve()), masks=masks)
            self._write(f"labelme/{name}.json", json.dumps(labelme, indent=1) + "\n")
        if "cvat" in self._formats:
            from blitznet.integrations.cvat import to_cvat_image

            self._cvat_images.append(to_cvat_image(len(self._cvat_images), image.name, result, masks=True))
        if self._to_coco is not None:
            image_id = len(self._coco_images) + 1
            height, width = result.size
            self._coco_images.append({"id": image_id, "file_name": image.name, "height": height, "width": width})
            self._coco_results += self._to_coco(result, image_id, range(1, len(self._class_names) + 1), masks=masks)

    def close(self) -> None:
        """Write the files that contain all images."""
        if "yolo" in self._formats:
            from blitznet.integrations.yolo import to_yolo_data_yaml

            self._write("yolo/data.yaml", to_yolo_data_yaml(self._class_names))
        if "cvat" in self._formats:
            from blitznet.integrations.cvat import assemble_cvat_xml

            self._write("cvat/annotations.xml", assemble_cvat_xml(self._cvat_images))
        if "coco" in self._formats:
            write_json(self._folder / "coco" / "results.json", self._coco_results)
            write_json(self._folder / "coco" / "images.json", self._coco_ground_truth())

    def _coco_ground_truth(self) -> dict[str, object]:
        """A COCO file without annotations, for the ids in the results."""
        categories = [{"id": category_id, "name": name} for category_id, name in enumerate(self._class_names, start=1)]
        return {"images": self._coco_images, "annotations": [], "categories": categories}

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        with translate_write_errors(path):
            path.write_text(text, encoding="utf-8")


def _import_to_coco_results() -> Callable[..., list[dict[str, Any]]]:
    try:
        from blitznet.integrations.coco import to_coco_results
    except ModuleNotFoundError as error:
        raise MissingExtra("--formats coco", "eval") from error
    return to_coco_results
