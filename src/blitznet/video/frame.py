"""A picture of a moving picture."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from av.packet import Packet

from blitznet.core.arrays import RGBArray

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.stream import Stream

    Coded: TypeAlias = Packet[Stream]
    """some of what is shown or heard, as it came"""
    Sound: TypeAlias = Packet[AudioStream]
else:
    Coded: TypeAlias = Packet
    Sound: TypeAlias = Packet
"""some milliseconds of what is heard, as it came"""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture, upright, and when it is shown."""

    number: int
    """0, 1, ... of those that were decoded"""
    pixels: RGBArray
    """(H, W, 3) uint8 RGB"""
    pts: int
    """when it is shown, in the source's time base"""
    seconds: float
    """the same in seconds since the first one"""
    taken: float
    """`time.monotonic()` when it was decoded"""
    sound: tuple[Sound, ...] = ()
    """what is heard between the picture before and this one, as it came"""
