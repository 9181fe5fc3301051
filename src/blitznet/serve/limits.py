"""Limits of the server; `blitznet serve` has a flag for each."""

from dataclasses import asdict, dataclass, fields

from blitznet.core.errors import UsageError

TOKEN_VARIABLE = "BLITZNET_TOKEN"
"""environment variable with the token that clients must send"""
DEFAULT_MAX_IMAGES = 16
"""maximum number of images in a batch request, unless the queue is shorter"""
_PENDING_BODIES = 10
"""default of max_pending_bytes, in bodies of the maximum size"""


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
    """Maximum number of images in the queue and of requests that arrive, together; more get 429."""
    max_pending_bytes: int | None = None
    """Maximum total size in bytes of bodies and of responses in memory; more get 429. If not set: ten bodies."""
    max_connections: int = 512
    """Maximum number of open connections. Beyond it idle ones are closed, then new ones get 503."""
    timeout: float = 30.0
    """Seconds for a request to arrive (then 408), for its result (then 503), and for the client to take it."""
    keep_alive: float = 75.0
    """Seconds after which an idle connection or WebSocket is closed."""

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

    @property
    def pending_bytes(self) -> int:
        """`max_pending_bytes`, or its default."""
        return _PENDING_BODIES * self.max_body_bytes if self.max_pending_bytes is None else self.max_pending_bytes

    def to_dict(self) -> dict[str, float]:
        """The limits for JSON, with the defaults filled in."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "max_images": self.images_per_request,
            "max_pending_bytes": self.pending_bytes,
        }
