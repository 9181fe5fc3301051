"""Results as FiftyOne's `FiftyOneImageDetectionDataset`: a JSON file of labels for a folder of images."""

from collections.abc import Iterable, Sequence
from typing import Any

from blitznet.postprocess.result import Result


def to_fiftyone_detections(result: Result) -> list[dict[str, Any]]:
    """The detections of an image.

    Args:
        result: N detections.

    Returns:
        N dicts of `label`, `confidence` and `bounding_box` (x y width height, fractions of the image).
    """
    height, width = result.size
    entries = []
    for (x1, y1, x2, y2), label, score in zip(result.boxes.tolist(), result.labels, result.scores, strict=True):
        box = (x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height)
        entries.append(
            {
                "label": result.class_names[label],
                "bounding_box": [round(value, 6) for value in box],
                "confidence": round(float(score), 5),
            }
        )
    return entries


def to_fiftyone_labels(
    detections: Iterable[tuple[str, list[dict[str, Any]]]], class_names: Sequence[str]
) -> dict[str, Any]:
    """The content of labels.json.

    Args:
        detections: Name of each image, without suffix, and its detections from `to_fiftyone_detections`.
        class_names: The model's class names.
    """
    return {"classes": list(class_names), "labels": dict(detections)}
