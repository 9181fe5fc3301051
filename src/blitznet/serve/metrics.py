"""Metrics of the server in Prometheus' format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from blitznet.serve.pool import Pool

_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""upper bounds of the histogram's buckets, seconds"""


class Metrics:
    """Metrics of one server."""

    def __init__(self, pool: Pool) -> None:
        """Create the metrics; the queue's length is read from `pool`."""
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "blitznet_requests", "Requests by path and status", ("path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "blitznet_request_seconds",
            "Seconds from a request's first byte to its response",
            ("path",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.images = Counter("blitznet_images", "Predicted images", registry=self._registry)
        queue = Gauge("blitznet_queue", "Images in the queue", registry=self._registry)
        queue.set_function(lambda: pool.waiting)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)
