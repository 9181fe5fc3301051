"""Films put end to end, as `cat a.ts b.ts` does: where times start again, they go on after those before."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from av.video.stream import VideoStream

from blitznet.video.frame import Coded

_SLACK = 4
"""frames that decoding times may fall back by in one film: what its container rounds or guesses"""
_APART = 2
"""seconds that sound and picture of one time lie apart in a file, at most"""


def make_monotonic(packets: Iterator[Coded], pictures: VideoStream, rate: Fraction) -> Iterator[Coded]:
    """The same packets, each film's moved by the same time to follow the film before it.

    Sound comes later than it came where it is not yet known how far its film is moved.
    """
    line = _Line(1 / rate)
    for packet in packets:
        if packet.stream is pictures:
            line.move_picture(packet)
            yield packet
        else:
            line.waiting.append(packet)
        yield from line.sound()
    yield from line.sound(patience=0)


class _Line:
    """How far each film is moved, and which film each stream is at."""

    def __init__(self, frame: Fraction) -> None:
        self.waiting: deque[Coded] = deque()
        """sound, in turn"""
        self._frame = frame
        self._moves = [Fraction(0)]
        """seconds, of each film"""
        self._last: dict[int, Fraction] = {}
        """where each stream is in its own film"""
        self._film: dict[int, int] = {}
        """which one that is, of each stream of sound"""
        self._now = Fraction(0)
        """where the picture is"""
        self._end: Fraction | None = None
        """when the next film would begin"""
        self._strayed: Fraction | None = None
        """where the picture was, if the packet before began a film"""
        self._since: Fraction | None = None
        """where the picture was when sound began to wait"""

    def move_picture(self, packet: Coded) -> None:
        """Begin a film where decoding times fall; those of showing do so between the frames of one film."""
        if packet.dts is None:
            _move(packet, self._moves[-1])
            return
        time, shown = _seconds(packet, packet.dts), _seconds(packet, packet.dts if packet.pts is None else packet.pts)
        last = self._last.get(packet.stream_index)
        if self._strayed is not None and 0 < time - self._strayed <= _SLACK * self._frame:
            self._moves.append(self._moves[-2])  # it was one wrong time, and no other film
        self._strayed = None
        if last is not None and self._end is not None and self._fell(time, last):
            self._moves.append(self._end - shown)
            self._strayed = last
        self._last[packet.stream_index] = time
        self._now = time + self._moves[-1]
        end = shown + self._moves[-1] + self._frame
        self._end = end if self._end is None else max(self._end, end)
        _move(packet, self._moves[-1])

    def sound(self, patience: float = _APART) -> Iterator[Coded]:
        """What need not wait, moved; for a film that may begin it waits so many seconds of the picture."""
        while self.waiting:
            packet = self.waiting[0]
            if packet.dts is not None and not self._move_sound(packet, patience):
                return
            yield self.waiting.popleft()

    def _move_sound(self, packet: Coded, patience: float) -> bool:
        """Move it with the film whose picture is nearest; False while that one has not begun."""
        assert packet.dts is not None
        stream, time = packet.stream_index, _seconds(packet, packet.dts)
        film, fell = self._film.get(stream, 0), self._fell(time, self._last.get(stream, time))
        later = range(film + fell, len(self._moves))
        nearest = min(later, key=lambda one: abs(time + self._moves[one] - self._now), default=None)
        if fell and (nearest is None or abs(time + self._moves[nearest] - self._now) > _APART):
            self._since = self._now if self._since is None else self._since
            if self._now - self._since < patience:
                return False
            nearest = None
        self._since = None
        self._film[stream], self._last[stream] = film if nearest is None else nearest, time
        _move(packet, self._moves[self._film[stream]])
        return True

    def _fell(self, time: Fraction, last: Fraction) -> bool:
        return time < last - _SLACK * self._frame


def _seconds(packet: Coded, time: int) -> Fraction:
    return time * packet.time_base


def _move(packet: Coded, move: Fraction) -> None:
    ticks = round(move / packet.time_base)
    if packet.dts is not None:
        packet.dts += ticks
    if packet.pts is not None:
        packet.pts += ticks
