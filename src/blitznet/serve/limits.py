"""What a client may ask of a server."""

from dataclasses import dataclass

from blitznet.core.errors import UsageError

IMAGES = 16
"""in one request of several, where nobody says how many"""


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """Beyond these a client is told so, and nothing is computed."""

    body: int = 20_000_000
    """bytes of a request: 413"""
    pixels: int = 50_000_000
    """of a image: 413"""
    images: int = IMAGES
    """in one request of several, which wait together: at most `queue`; 413"""
    queue: int = 64
    """images that may wait: 429"""
    seconds: float = 30.0
    """until a request has come in (408) and is answered (503)"""

    def __post_init__(self) -> None:
        for name in ("body", "pixels", "queue", "images", "seconds"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{name}: expected more than 0, got {value}")
        if self.images > self.queue:
            raise UsageError(f"images: expected at most the {self.queue} that may wait, got {self.images}")
