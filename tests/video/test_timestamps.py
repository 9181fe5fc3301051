from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from av.video.stream import VideoStream

from blitznet.video.frame import Coded
from blitznet.video.timestamps import make_monotonic

PICTURES, SOUND = object(), object()


@dataclass
class Packet:
    """Milliseconds, and what stream it is of."""

    stream: object
    dts: int | None
    pts: int | None
    time_base: Fraction = Fraction(1, 1000)

    @property
    def stream_index(self) -> int:
        return int(self.stream is SOUND)


def picture(dts: int | None, pts: int | None = None) -> Packet:
    return Packet(PICTURES, dts, dts if pts is None else pts)


def sound(dts: int | None) -> Packet:
    return Packet(SOUND, dts, dts)


def film(start: int, end: int) -> list[Packet]:
    """Ten packets a second of both."""
    return [make(time) for time in range(start, end, 100) for make in (picture, sound)]


def silent(end: int) -> list[Packet]:
    return [picture(time) for time in range(0, end, 100)]


def put(*packets: Packet) -> list[Packet]:
    actual = make_monotonic(cast(Iterator[Coded], iter(packets)), cast(VideoStream, PICTURES), Fraction(10))
    return cast(list[Packet], list(actual))


def times(packets: list[Packet], stream: object) -> list[int | None]:
    return [packet.dts for packet in packets if packet.stream is stream]


def test_one_film_comes_out_as_it_is() -> None:
    late = [*film(-200, 5000), picture(9000), *(sound(time) for time in range(5000, 9000, 100))]
    end = [picture(None), sound(None)]
    expected = [(packet.stream, packet.dts) for packet in [*late, *end]]
    assert [(packet.stream, packet.dts) for packet in put(*late, *end)] == expected


def test_each_film_follows_the_one_before_with_its_sound() -> None:
    actual = put(*film(0, 5000), *film(200, 3200), *film(0, 4000))
    assert times(actual, PICTURES) == times(actual, SOUND) == list(range(0, 12_000, 100))


def test_what_is_shown_in_another_order_is_one_film() -> None:
    shown = [200, 600, 400, 300, 500, 700]
    actual = put(*(picture(100 * n, pts) for n, pts in enumerate(shown)), picture(0, 100), picture(100, 200))
    assert [packet.pts for packet in actual] == [*shown, 800, 900]


def test_sound_that_comes_before_its_picture_waits_and_late_sound_stays_with_its_film() -> None:
    early = put(*film(0, 5000), sound(0), sound(100), *(picture(time) for time in range(0, 1000, 100)), sound(200))
    assert times(early, SOUND)[-3:] == [5000, 5100, 5200]
    late = put(*film(0, 5000), picture(0), picture(100), sound(5000), sound(0), sound(100))
    assert times(late, SOUND)[-3:] == [5000, 5000, 5100]


def test_sound_finds_its_film_after_one_without_sound() -> None:
    actual = put(*film(0, 5000), *silent(8000), sound(0), *film(0, 1000))
    assert times(actual, SOUND)[50:] == [13_000, *range(13_000, 14_000, 100)]
    later = put(*film(0, 5000), *silent(3000), *film(20_000, 21_000))
    assert times(later, SOUND)[50:] == times(later, PICTURES)[80:] == list(range(25_000, 26_000, 100))


def test_sound_that_falls_back_alone_does_not_wait_for_ever() -> None:
    actual = put(*film(0, 5000), sound(1000), *film(5000, 9000))
    assert times(actual, SOUND) == [*range(0, 5000, 100), 1000, *range(5000, 9000, 100)]
    at = next(n for n, packet in enumerate(actual) if n > 100 and packet.stream is SOUND)
    assert actual[at - 1].dts == 6900
    assert put(*film(0, 5000), sound(1000))[-1].dts == 1000


def test_one_wrong_time_is_no_film() -> None:
    actual = put(*film(0, 5000), picture(300), *film(5100, 6000))
    assert times(actual, PICTURES) == list(range(0, 6000, 100))
    assert times(actual, SOUND)[50:] == list(range(5100, 6000, 100))
