"""What Prometheus is told."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from blitznet.serve.pool import Pool

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counts of one server."""

    def __init__(self, pool: Pool) -> None:
        """Tell of this pool's queue too."""
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "blitznet_requests", "Requests by path and status", ("path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "blitznet_request_seconds",
            "Seconds from a request's first byte to its answer",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.images = Counter("blitznet_images", "Images that were looked at", registry=self._registry)
        waiting = Gauge("blitznet_queue", "Images that wait", registry=self._registry)
        waiting.set_function(lambda: pool.waiting)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)
