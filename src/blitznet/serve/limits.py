"""Limits of the server; `blitznet serve` has a flag for each."""

from dataclasses import asdict, dataclass, fields

from blitznet.core.errors import UsageError

DEFAULT_MAX_IMAGES = 16
"""maximum number of images in a batch request, unless the queue is shorter"""


@dataclass(frozen=True, slots=True)
class ServeLimits:
    """Limits of requests. The server refuses a request beyond a limit before it runs the network."""

    max_body_bytes: int = 20_000_000
    """Maximum size in bytes of a request body or a WebSocket message; larger ones get 413."""
    max_pixels: int = 50_000_000
    """Maximum number of pixels of an image; larger ones get 413."""
    max_images: int | None = None
    """Maximum number of images in a batch request; more get 413. If not set: 16 or --max-queue, whichever is less."""
    max_queue: int = 64
    """Maximum number of images in the queue; requests beyond it get 429."""
    timeout: float = 30.0
    """Seconds to wait for a request body (then 408) and for its result (then 503)."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name}: expected more than 0, got {value}")
        if self.images_per_request > self.max_queue:
            raise UsageError(f"max_images: expected at most max_queue ({self.max_queue}), got {self.max_images}")

    @property
    def images_per_request(self) -> int:
        """`max_images`, or its default."""
        return min(DEFAULT_MAX_IMAGES, self.max_queue) if self.max_images is None else self.max_images

    def to_dict(self) -> dict[str, float]:
        """The limits for JSON, with the default of `max_images` filled in."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "max_images": self.images_per_request,
        }
