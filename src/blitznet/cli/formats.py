"""What `blitznet predict --also` writes beside pictures and JSON: the same results for other tools."""

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

Form = Literal["yolo", "labelme", "cvat", "coco"]
FORMS: tuple[Form, ...] = get_args(Form)


class Also:
    """Collects results, and writes them in each of the forms."""

    def __init__(self, folder: Path, forms: Sequence[Form], names: Sequence[str]) -> None:
        """Into folders of `folder` that are called as the forms; `names` are those of the model's classes."""
        self._folder, self._forms, self._names = folder, forms, tuple(names)
        self._images: list[dict[str, object]] = []  # not the results: each holds a class map of its image's size
        self._cvat: list[Element] = []
        self._results: list[dict[str, object]] = []
        self._coco = _coco_results() if "coco" in forms else None  # a package that is missing is told before the work
        make_folders(*(folder / form for form in forms))

    def add(self, image: Path, name: str, result: "Result") -> None:
        """A image's result; `name` is what its files are called."""
        masks = result.class_map is not None
        if "yolo" in self._forms:
            from blitznet.integrations.yolo import to_yolo_lines

            self._write(f"yolo/{name}.txt", to_yolo_lines(result))
        if "labelme" in self._forms:
            from blitznet.integrations.labelme import to_labelme

            told = to_labelme(result, str(image.resolve()), masks=masks)
            self._write(f"labelme/{name}.json", json.dumps(told, indent=1) + "\n")
        if "cvat" in self._forms:
            from blitznet.integrations.cvat import cvat_image

            self._cvat.append(cvat_image(len(self._cvat), image.name, result, masks=True))
        if self._coco is not None:
            number = len(self._images) + 1
            height, width = result.size
            self._images.append({"id": number, "file_name": image.name, "height": height, "width": width})
            self._results += self._coco(result, number, range(1, len(self._names) + 1), masks=masks)

    def end(self) -> None:
        """Write what is one file for all images."""
        if "yolo" in self._forms:
            from blitznet.integrations.yolo import yolo_names

            self._write("yolo/data.yaml", yolo_names(self._names))
        if "cvat" in self._forms:
            from blitznet.integrations.cvat import cvat_page

            self._write("cvat/annotations.xml", cvat_page(self._cvat))
        if "coco" in self._forms:
            write_json(self._folder / "coco" / "results.json", self._results)
            write_json(self._folder / "coco" / "images.json", self._index())

    def _index(self) -> dict[str, object]:
        """What the numbers in the results mean."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self._names, start=1)]
        return {"images": self._images, "annotations": [], "categories": categories}

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        with translate_write_errors(path):
            path.write_text(text, encoding="utf-8")


def _coco_results() -> Callable[..., list[dict[str, Any]]]:
    try:
        from blitznet.integrations.coco import coco_results
    except ModuleNotFoundError as error:
        raise MissingExtra("--also coco", "eval") from error
    return coco_results
