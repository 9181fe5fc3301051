from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from blitznet.video.frame import MediaPacket
from blitznet.video.timestamps import FrameClock, make_monotonic

VIDEO, AUDIO = object(), object()


@dataclass
class FakePacket:
    """A packet of one of two streams, with times in milliseconds."""

    stream: object
    dts: int | None
    pts: int | None
    time_base: Fraction = Fraction(1, 1000)

    @property
    def stream_index(self) -> int:
        return int(self.stream is AUDIO)


def video(dts: int | None, pts: int | None = None) -> FakePacket:
    return FakePacket(VIDEO, dts, dts if pts is None else pts)


def audio(dts: int | None) -> FakePacket:
    return FakePacket(AUDIO, dts, dts)


def segment(start: int, end: int) -> list[FakePacket]:
    """Ten packets per second of video and of audio, interleaved."""
    return [make(time) for time in range(start, end, 100) for make in (video, audio)]


def silent_segment(end: int) -> list[FakePacket]:
    return [video(time) for time in range(0, end, 100)]


def shift(*packets: FakePacket) -> list[FakePacket]:
    shifted = make_monotonic(cast(Iterator[MediaPacket], iter(packets)), cast(VideoStream, VIDEO), Fraction(10))
    return cast(list[FakePacket], list(shifted))


def times(packets: list[FakePacket], stream: object) -> list[int | None]:
    return [packet.dts for packet in packets if packet.stream is stream]


@dataclass
class FakeFrame:
    pts: int | None
    dts: int | None


def clock_times(frames: list[tuple[int | None, int | None]], *, is_avi: bool = False) -> list[int]:
    clock = FrameClock(10, is_avi=is_avi)
    return [clock.next(cast(VideoFrame, FakeFrame(*frame))) for frame in frames]


def test_times_of_frames_increase() -> None:
    assert clock_times([(5, 0), (15, 10), (15, 20), (12, 30), (40, 40)]) == [5, 15, 16, 17, 40]
    assert clock_times([(None, 0), (None, None), (30, 10)]) == [0, 10, 30]


def test_reordered_frames_of_avi_have_the_times_of_their_packets() -> None:
    frames = [(1, 2), (2, 3), (5, 4), (4, 5), (3, 7), (6, None), (7, None)]
    assert clock_times([(10 * (pts or 0), dts and 10 * dts) for pts, dts in frames], is_avi=True) == [
        *(10, 20, 30, 40, 60),  # the gap is one of the file
        *(70, 80),
    ]


def test_a_single_segment_is_unchanged() -> None:
    packets = [*segment(-200, 5000), video(9000), *(audio(time) for time in range(5000, 9000, 100))]
    without_times = [video(None), audio(None)]
    expected = [(packet.stream, packet.dts) for packet in [*packets, *without_times]]
    assert [(packet.stream, packet.dts) for packet in shift(*packets, *without_times)] == expected


def test_each_segment_follows_the_one_before_with_its_audio() -> None:
    shifted = shift(*segment(0, 5000), *segment(200, 3200), *segment(0, 4000))
    assert times(shifted, VIDEO) == times(shifted, AUDIO) == list(range(0, 12_000, 100))


def test_reordered_frames_are_one_segment() -> None:
    presentation = [200, 600, 400, 300, 500, 700]
    shifted = shift(*(video(100 * n, pts) for n, pts in enumerate(presentation)), video(0, 100), video(100, 200))
    assert [packet.pts for packet in shifted] == [*presentation, 800, 900]


def test_early_audio_waits_for_its_segment_and_late_audio_stays_in_its_own() -> None:
    early = shift(*segment(0, 5000), audio(0), audio(100), *(video(time) for time in range(0, 1000, 100)), audio(200))
    assert times(early, AUDIO)[-3:] == [5000, 5100, 5200]
    late = shift(*segment(0, 5000), video(0), video(100), audio(5000), audio(0), audio(100))
    assert times(late, AUDIO)[-3:] == [5000, 5000, 5100]


def test_audio_skips_a_segment_without_audio() -> None:
    shifted = shift(*segment(0, 5000), *silent_segment(8000), audio(0), *segment(0, 1000))
    assert times(shifted, AUDIO)[50:] == [13_000, *range(13_000, 14_000, 100)]
    later = shift(*segment(0, 5000), *silent_segment(3000), *segment(20_000, 21_000))
    assert times(later, AUDIO)[50:] == times(later, VIDEO)[80:] == list(range(25_000, 26_000, 100))


def test_audio_that_falls_back_without_video_waits_for_a_limited_time() -> None:
    shifted = shift(*segment(0, 5000), audio(1000), *segment(5000, 9000))
    assert times(shifted, AUDIO) == [*range(0, 5000, 100), 1000, *range(5000, 9000, 100)]
    position = next(n for n, packet in enumerate(shifted) if n > 100 and packet.stream is AUDIO)
    assert shifted[position - 1].dts == 6900
    assert shift(*segment(0, 5000), audio(1000))[-1].dts == 1000


def test_a_single_wrong_time_is_not_a_segment() -> None:
    shifted = shift(*segment(0, 5000), video(300), *segment(5100, 6000))
    assert times(shifted, VIDEO) == list(range(0, 6000, 100))
    assert times(shifted, AUDIO)[50:] == list(range(5100, 6000, 100))
