"""Which detection is which from frame to frame: ByteTrack (Zhang et al., 2022) of the library `trackers` (Apache-2.0).

A thing keeps its class: each class is tracked by itself.
"""

from collections.abc import Iterable

import numpy as np
from trackers import ByteTrackTracker

from blitznet.core.arrays import Labels
from blitznet.integrations.supervision import to_supervision
from blitznet.postprocess.result import Result

LEAST = 0.1
"""score of the weakest detections, which may go on with a track and never begin one"""
NOBODY = -1
"""the id of a detection that is of no track"""
_PLACE = "place"


class Tracker:
    """Gives detections of one video ids: 1, 2, ... in the order in which things were first seen for sure."""

    def __init__(self, rate: float, *, sure: float = 0.5, patience: float = 1.0) -> None:
        """`rate` frames a second; a score of `sure` begins a track, and one unseen for `patience` seconds is over."""
        self._rate, self._sure, self._patience = rate, sure, patience
        self._of_class: dict[int, ByteTrackTracker] = {}
        self._numbers: dict[tuple[int, int], int] = {}

    def update(self, result: Result) -> Labels:
        """The ids (N,) of the next frame's detections, those from LEAST up; NOBODY for one of no track (yet)."""
        ids = np.full(len(result), NOBODY, np.int64)
        for label in sorted({*self._of_class, *(int(label) for label in result.labels)}):
            of_it = np.flatnonzero(result.labels == label)
            given = to_supervision(result[result.labels == label])
            given.data[_PLACE] = of_it  # they come back in another order
            found = self._tracker(label).update(given)
            own = np.zeros(0, np.int64) if found.tracker_id is None else found.tracker_id
            for place, number in zip(found.data.get(_PLACE, ()), own, strict=True):
                ids[place] = self._number(label, int(number))
        return ids

    def _tracker(self, label: int) -> ByteTrackTracker:
        if label not in self._of_class:
            self._of_class[label] = ByteTrackTracker(
                lost_track_buffer=max(1, round(30 * self._patience)),  # it scales this from 30 frames a second
                frame_rate=self._rate,
                track_activation_threshold=self._sure,
                high_conf_det_threshold=self._sure,
            )
        return self._of_class[label]

    def _number(self, label: int, own: int) -> int:
        if own < 0:
            return NOBODY
        return self._numbers.setdefault((label, own), len(self._numbers) + 1)


def mot_lines(frame: int, result: Result, ids: Iterable[int]) -> str:
    """A frame's lines of a MOTChallenge file: frame and id from 1, left, top, width, height, score, and -1 thrice."""
    lines = []
    for box, score, number in zip(result.boxes, result.scores, ids, strict=True):
        if number != NOBODY:
            x1, y1, x2, y2 = (float(side) for side in box)
            lines.append(f"{frame + 1},{number},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n")
    return "".join(lines)
