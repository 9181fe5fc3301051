"""Metrics of the server in Prometheus' format."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from blitznet.serve.admission import Admission
from blitznet.serve.limits import ServeLimits
from blitznet.serve.pool import Pool

_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)
"""upper bounds of the histogram's buckets, seconds"""


class _NetworkImages(Collector):
    """The images that went through the network, which the worker threads count."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "blitznet_network_images",
            "Images that went through the network, also those whose client no longer waits",
            value=self._pool.computed,
        )


class Metrics:
    """Metrics of one server."""

    def __init__(self, pool: Pool, admission: Admission, limits: ServeLimits) -> None:
        """Create the metrics; what is under way is read from `pool` and `admission`."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "blitznet_requests", "Requests and WebSocket messages", ("path", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "blitznet_request_seconds",
            "Seconds from a request's first byte to the last byte of its response",
            ("path", "status"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.images = Counter("blitznet_images", "Images whose results were returned", registry=self._registry)
        self._registry.register(_NetworkImages(pool))
        for name, text, function in (
            ("queue", "Images in the queue", lambda: pool.waiting),
            ("queue_capacity", "Maximum number of images in the queue", lambda: limits.max_queue),
            ("receiving", "Requests whose body arrives or is parsed", lambda: admission.receiving),
            ("connections", "Open connections", lambda: admission.connections),
            ("websockets", "Open WebSockets", lambda: admission.streams),
            ("pending_bytes", "Bytes of large bodies and of responses in memory", lambda: admission.pending_bytes),
            ("ready", "Whether the server is ready", lambda: pool.ready),
        ):
            Gauge(f"blitznet_{name}", text, registry=self._registry).set_function(function)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count a request and its duration."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path, str(status)).observe(seconds)

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)
