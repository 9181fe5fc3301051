"""A decoded video frame with its time and audio."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from av.packet import Packet

from blitznet.core.arrays import RGBArray

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.stream import Stream

    MediaPacket: TypeAlias = Packet[Stream]
    """an encoded packet of any stream"""
    AudioPacket: TypeAlias = Packet[AudioStream]
    """an encoded packet of an audio stream"""
else:
    MediaPacket: TypeAlias = Packet
    AudioPacket: TypeAlias = Packet


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A video frame, upright, with its time."""

    index: int
    """index of the frame among the decoded ones, from 0"""
    image: RGBArray
    """(H, W, 3) uint8 RGB"""
    pts: int
    """presentation time, in the source's time base"""
    seconds: float
    """presentation time in seconds since the first frame"""
    decoded_at: float
    """`time.monotonic()` when the frame was decoded"""
    audio: tuple[AudioPacket, ...] = ()
    """encoded audio packets between the previous frame and this one"""
