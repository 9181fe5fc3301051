"""Result: what the network saw in one image. Outputs and Detections: what an engine answers before that."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from blitznet.core.arrays import Boxes, ClassMap, Flags, Floats, Labels, Scores, require_shape
from blitznet.core.errors import UsageError
from blitznet.postprocess.instances import Instances, Panoptic, instances, of_class_map, of_logits, panoptic


@dataclass(frozen=True, eq=False)
class Result:
    """What the network saw in one image. Boxes are pixels of the upright original.

    The class map of a large image takes longer than all else, so it is made when it is first looked at.
    """

    boxes: Boxes
    """(N, 4) x1 y1 x2 y2, inside the image"""
    scores: Scores
    """(N,) 0..1, falling"""
    labels: Labels
    """(N,) index into `names`"""
    class_names: tuple[str, ...]
    """K class names"""
    size: tuple[int, int]
    """(H, W) of the original"""
    painted: ClassMap | Callable[[], ClassMap] | None = None
    """the class map (H, W), or what makes it; None if not asked for"""
    sure: Floats | Callable[[], Floats] | None = None
    """`certainty` (H, W), or what makes it; None if it is not to be had"""
    leaning: Floats | Callable[[], Floats] | None = None
    """(C, h, w) the segmentation logits that the class map is painted from, or what makes them; None if unknown"""

    def __post_init__(self) -> None:
        count = len(self.scores)
        require_shape(self.boxes, (count, 4), name="Result.boxes")
        require_shape(self.labels, (count,), name="Result.labels")
        if self.painted is not None and not callable(self.painted):
            require_shape(self.painted, self.size, name="Result.painted")
        if self.sure is not None and not callable(self.sure):
            require_shape(self.sure, self.size, name="Result.sure")

    @cached_property
    def class_map(self) -> ClassMap | None:
        """(H, W): 0 background, label + 1; None if not asked for."""
        return self.painted() if callable(self.painted) else self.painted

    @cached_property
    def confidence(self) -> Floats | None:
        """(H, W) probability of each pixel's class in the class map, made when first looked at, which is slow.

        None without a class map, and of a file with the post-processing inside, which keeps its probabilities.
        """
        return self.sure() if callable(self.sure) else self.sure

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> "Result":
        """Only the detections with at least this score; the class map stays."""
        return self.of(self.scores >= np.float32(score))

    def of(self, keep: Flags) -> "Result":
        """Only the detections that are kept (N,); the class map stays."""
        return Result(
            boxes=self.boxes[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            class_names=self.class_names,
            size=self.size,
            painted=vars(self).get("class_map", self.painted),
            sure=vars(self).get("certainty", self.sure),
            leaning=self.leaning,
        )

    def instances(self) -> Instances:
        """Which pixels belong to which detection; take `above(0.3)` of a result first, for weak ones are guesses.

        Of the class map's logits where they are known, of the class map itself otherwise.
        Raises UsageError without a class map.
        """
        if self.leaning is not None:
            logits = self.leaning() if callable(self.leaning) else self.leaning
            return instances(self.boxes, self.scores, self.labels, of_logits(logits), self.size)
        return instances(self.boxes, self.scores, self.labels, of_class_map(self._painted()), self.size)

    def panoptic(self) -> Panoptic:
        """One owner for every pixel: a detection, or a class that was seen without a box; of `above(0.3)`, best.

        Raises UsageError without a class map.
        """
        return panoptic(self.instances(), self._painted())

    def _painted(self) -> ClassMap:
        if self.class_map is None:
            raise UsageError("result: instances are cut out of a class map, and this network or call made none")
        return self.class_map

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: width, height and a list of {label, score, box}."""
        detections = [
            {
                "label": self.class_names[label],
                "score": round(float(score), 4),
                "box": [round(float(side), 2) for side in box],
            }
            for box, score, label in zip(self.boxes, self.scores, self.labels, strict=True)
        ]
        return {"width": self.size[1], "height": self.size[0], "detections": detections}
