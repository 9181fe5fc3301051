"""Monotonic timestamps: of frames, and of concatenated videos (`cat a.ts b.ts`), which restart with each segment."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blitznet.video.frame import MediaPacket

_TOLERANCE = 4
"""frames by which decoding times may go back within a segment, because containers round or guess them"""
_MAX_AV_OFFSET = 2
"""maximum seconds between audio and video of the same time in a file"""


def make_monotonic(packets: Iterator[MediaPacket], video: VideoStream, fps: Fraction) -> Iterator[MediaPacket]:
    """Shift the packets of each segment so that it follows the segment before it.

    Args:
        packets: Demuxed packets of the video and its audio; they are changed in place.
        video: The video stream; all other packets are audio.
        fps: Frames per second.

    Yields:
        The same packets. Audio is held back while the shift of its segment is unknown.
    """
    timeline = _Timeline(1 / fps)
    for packet in packets:
        if packet.stream is video:
            timeline.shift_video(packet)
            yield packet
        else:
            timeline.waiting_audio.append(packet)
        yield from timeline.shift_audio()
    yield from timeline.shift_audio(max_wait=0)


class FrameClock:
    """Presentation times of the decoded frames of a file, each later than the one before."""

    def __init__(self, frame_ticks: int, *, is_avi: bool) -> None:
        """Start a file.

        Args:
            frame_ticks: Duration of a frame in units of the time base.
            is_avi: Whether the file is AVI, which has no presentation times: those of reordered frames are guesses.
        """
        self._frame_ticks, self._is_avi = max(1, frame_ticks), is_avi
        self._last: int | None = None
        self._delay: int | None = None
        """time between the presentation of a frame of AVI and the decoding of the packet with which it appears"""

    def next(self, frame: VideoFrame) -> int:
        """The time of the next frame."""
        time = frame.pts
        if self._is_avi and frame.dts is not None and time is not None:
            self._delay = frame.dts - time if self._delay is None else self._delay
            time = frame.dts - self._delay
        elif time is None or self._is_avi:  # the last frames of AVI have no packet
            time = (time or 0) if self._last is None else self._last + self._frame_ticks
        self._last = time if self._last is None else max(time, self._last + 1)
        return self._last


class _Timeline:
    """The time shift of each segment, and the segment that each stream is in."""

    def __init__(self, frame_duration: Fraction) -> None:
        self.waiting_audio: deque[MediaPacket] = deque()
        """audio packets in order, not shifted yet"""
        self._frame_duration = frame_duration
        self._shifts = [Fraction(0)]
        """time shift of each segment, seconds"""
        self._last_times: dict[int, Fraction] = {}
        """last time of each stream within its segment, by stream index"""
        self._audio_segments: dict[int, int] = {}
        """segment of each audio stream, by stream index"""
        self._video_time = Fraction(0)
        """shifted time of the video"""
        self._video_end: Fraction | None = None
        """shifted end of the video, where the next segment starts"""
        self._time_before_segment: Fraction | None = None
        """time of the video before the last packet, if that packet started a segment"""
        self._waiting_since: Fraction | None = None
        """shifted time of the video when audio began to wait"""

    def shift_video(self, packet: MediaPacket) -> None:
        """Shift a video packet; a segment starts where decoding times go back.

        Presentation times also go back between reordered frames of one segment.
        """
        if packet.dts is None:
            _shift(packet, self._shifts[-1])
            return
        time = packet.dts * packet.time_base
        presentation_time = (packet.dts if packet.pts is None else packet.pts) * packet.time_base
        last = self._last_times.get(packet.stream_index)
        before = self._time_before_segment
        if before is not None and 0 < time - before <= _TOLERANCE * self._frame_duration:
            self._shifts.append(self._shifts[-2])  # a single wrong time, not a segment
        self._time_before_segment = None
        if last is not None and self._video_end is not None and self._restarts(time, last):
            self._shifts.append(self._video_end - presentation_time)
            self._time_before_segment = last
        self._last_times[packet.stream_index] = time
        self._video_time = time + self._shifts[-1]
        end = presentation_time + self._shifts[-1] + self._frame_duration
        self._video_end = end if self._video_end is None else max(self._video_end, end)
        _shift(packet, self._shifts[-1])

    def shift_audio(self, max_wait: float = _MAX_AV_OFFSET) -> Iterator[MediaPacket]:
        """Yield shifted audio packets; one whose segment may not have started yet waits `max_wait` seconds of video."""
        while self.waiting_audio:
            packet = self.waiting_audio[0]
            if packet.dts is not None and not self._try_shift_audio(packet, max_wait):
                return
            yield self.waiting_audio.popleft()

    def _try_shift_audio(self, packet: MediaPacket, max_wait: float) -> bool:
        """Shift an audio packet with the segment nearest to the video; False while that one has not started."""
        assert packet.dts is not None
        stream, time = packet.stream_index, packet.dts * packet.time_base
        segment, restarts = (
            self._audio_segments.get(stream, 0),
            self._restarts(time, self._last_times.get(stream, time)),
        )
        candidates = range(segment + restarts, len(self._shifts))
        nearest = min(candidates, key=lambda index: self._distance(time, index), default=None)
        if restarts and (nearest is None or self._distance(time, nearest) > _MAX_AV_OFFSET):
            self._waiting_since = self._video_time if self._waiting_since is None else self._waiting_since
            if self._video_time - self._waiting_since < max_wait:
                return False
            nearest = None
        self._waiting_since = None
        self._audio_segments[stream] = segment if nearest is None else nearest
        self._last_times[stream] = time
        _shift(packet, self._shifts[self._audio_segments[stream]])
        return True

    def _distance(self, time: Fraction, segment: int) -> Fraction:
        """Seconds between a time in a segment and the video."""
        return abs(time + self._shifts[segment] - self._video_time)

    def _restarts(self, time: Fraction, last: Fraction) -> bool:
        """Whether a time that follows `last` starts a segment."""
        return time < last - _TOLERANCE * self._frame_duration


def _shift(packet: MediaPacket, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base)
    if packet.dts is not None:
        packet.dts += ticks
    if packet.pts is not None:
        packet.pts += ticks
