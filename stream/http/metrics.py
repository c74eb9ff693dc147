"""Numbers for Prometheus: what HTTP does, the process, and whatever a service registers."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

# From a cached figure to an upload over a slow line.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """An own registry with the figures of HTTP; services add theirs to ``registry``. Safe from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "videodisco_http_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "videodisco_http_request_seconds",
            "From a request's head until its answer is made; live pictures and WebSockets excluded.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "videodisco_http_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self._rejected = Counter(
            "videodisco_http_rejected",
            "Requests and connections that were refused or given up, by cause.",
            ("cause",),
            registry=self.registry,
        )
        self._sockets = Gauge("videodisco_http_sockets", "Open connections.", registry=self.registry)

    def request_began(self) -> None:
        self._in_flight.inc()

    def request_ended(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """``route`` is the endpoint's path as in the table; ``seconds`` None leaves the histogram alone."""
        known = method if method in _METHODS else "other"
        self._in_flight.dec()
        self._requests.labels(known, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(known, route).observe(seconds)

    def rejected(self, cause: str) -> None:
        self._rejected.labels(cause).inc()

    def sockets(self, count: int) -> None:
        self._sockets.set(count)

    def rejections(self, cause: str) -> int:
        """How many so far."""
        return int(self.registry.get_sample_value("videodisco_http_rejected_total", {"cause": cause}) or 0)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """All figures, and their content type: OpenMetrics if ``accept`` asks for it, else Prometheus' text."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
