"""Multi-object tracking by ByteTrack (Zhang et al., 2022), as implemented in `trackers` (extra `track`).

Each class has its own tracker, so a track never changes its class.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from blitznet.core.arrays import Labels
from blitznet.core.errors import MissingExtra, UsageError
from blitznet.postprocess.result import Result

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

MIN_TRACK_SCORE = 0.1
"""minimum score of detections for `Tracker.update`; low scores continue a track and never start one"""
NO_TRACK = -1
"""id of a detection without a track"""
_BUFFER_FPS = 30
"""frame rate that `trackers` scales its buffer length from"""
_INDEX = "index"
"""key of the detections' indices in the data of supervision"""


class Tracker:
    """Assigns track ids 1, 2, ... to the detections of one video."""

    def __init__(self, fps: float, *, activation_threshold: float = 0.5, lost_seconds: float = 1.0) -> None:
        """Start without tracks.

        Args:
            fps: Frames per second of the video.
            activation_threshold: Minimum score of a detection that starts a track.
            lost_seconds: Seconds without a detection after which a track ends.

        Raises:
            MissingExtra: The extra `track` is not installed.
            UsageError: fps is not above 0.
        """
        rate: object = fps  # of any type, from users without a type checker
        if not isinstance(rate, int | float | Fraction) or not rate > 0:
            raise UsageError(f"fps: expected a number above 0, got {fps!r}")
        try:
            import trackers  # noqa: F401 - only whether it is installed
        except ModuleNotFoundError as error:
            raise MissingExtra("`blitznet.Tracker`", "track") from error
        self._fps, self._activation_threshold, self._lost_seconds = fps, activation_threshold, lost_seconds
        self._trackers: dict[int, ByteTrackTracker] = {}
        """tracker of each class id"""
        self._ids: dict[tuple[int, int], int] = {}
        """track id of each (class id, id within the class's tracker)"""

    def update(self, result: Result) -> Labels:
        """Track the next frame.

        Args:
            result: N detections of the frame, predicted with a minimum score of MIN_TRACK_SCORE.

        Returns:
            (N,) track ids; NO_TRACK for a detection without a track so far.
        """
        from blitznet.integrations.supervision import to_supervision

        ids = np.full(len(result), NO_TRACK, np.int64)
        for label in sorted({*self._trackers, *(int(label) for label in result.labels)}):
            mask = result.labels == label
            detections = to_supervision(result[mask])
            detections.data[_INDEX] = np.flatnonzero(mask)  # the tracker changes the order
            tracked = self._tracker(label).update(detections)
            class_track_ids = np.zeros(0, np.int64) if tracked.tracker_id is None else tracked.tracker_id
            for index, class_track_id in zip(tracked.data.get(_INDEX, ()), class_track_ids, strict=True):
                ids[index] = self._track_id(label, int(class_track_id))
        return ids

    def _tracker(self, label: int) -> "ByteTrackTracker":
        from trackers import ByteTrackTracker

        if label not in self._trackers:
            self._trackers[label] = ByteTrackTracker(
                lost_track_buffer=max(1, round(_BUFFER_FPS * self._lost_seconds)),
                frame_rate=self._fps,
                track_activation_threshold=self._activation_threshold,
                high_conf_det_threshold=self._activation_threshold,
            )
        return self._trackers[label]

    def _track_id(self, label: int, class_track_id: int) -> int:
        if class_track_id < 0:
            return NO_TRACK
        return self._ids.setdefault((label, class_track_id), len(self._ids) + 1)


def to_mot_lines(frame_index: int, result: Result, ids: Iterable[int]) -> str:
    """A frame's lines of a MOTChallenge file: frame, id, left, top, width, height, score and three times -1.

    Args:
        frame_index: Index of the frame, from 0; the file counts from 1.
        result: N detections.
        ids: Track ids (N,); detections without a track are left out.
    """
    lines = []
    for box, score, track_id in zip(result.boxes, result.scores, ids, strict=True):
        if track_id != NO_TRACK:
            x1, y1, x2, y2 = (float(coordinate) for coordinate in box)
            lines.append(
                f"{frame_index + 1},{track_id},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
            )
    return "".join(lines)
