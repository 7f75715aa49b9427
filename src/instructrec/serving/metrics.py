"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server.

    Args:
        waiting: Tells how many requests wait.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "instructrec_requests",
            "Requests by route and status",
            ("route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "instructrec_request_seconds",
            "Time from the first to the last byte",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._sizes = Histogram(
            "instructrec_batch_size",
            "Requests that were scored together",
            buckets=_SIZES,
            registry=self.registry,
        )
        self._batches = Histogram(
            "instructrec_batch_seconds",
            "Time that a batch took",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.degraded = Counter(
            "instructrec_degraded",
            "Answers without the language model because time was short",
            registry=self.registry,
        )
        self.events = Counter(
            "instructrec_events", "Events that were accepted", registry=self.registry
        )
        queue = Gauge("instructrec_waiting", "Requests in the queue", registry=self.registry)
        queue.set_function(waiting)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """Count one batch."""
        self._sizes.observe(size)
        self._batches.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
