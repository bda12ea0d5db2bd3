"""What an operator's tools ask: `/healthz`, and figures for Prometheus under `/metrics`."""

import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from demo.backend.models import Models
from mgm_core.runtime.admission import Admission, Ended

if TYPE_CHECKING:
    from prometheus_client.core import Metric

# Of waiting and of computing, in seconds; what a photo takes lies in the middle.
_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300)


def health_route(admission: Admission, models: Models, version: str) -> BaseRoute:
    """Return the route of `/healthz`.

    It answers 200 while the server takes requests, also before the networks are loaded, and 503
    once it is about to stop. It tells nothing about visitors.
    """

    async def answer(_request: Request) -> Response:
        stopping = admission.closed
        state = {
            "status": "stopping" if stopping else "ok",
            "version": version,
            "weights_loaded": models.loaded,
            "running": admission.running,
            "waiting": admission.waiting,
        }
        return JSONResponse(state, 503 if stopping else 200, {"cache-control": "no-store"})

    return Route("/healthz", answer)


def check_metrics(wanted: bool) -> None:
    """Hold prometheus-client to be installed where metrics are wanted.

    Raises:
        ValueError: it is not.
    """
    if wanted and importlib.util.find_spec("prometheus_client") is None:
        raise ValueError(
            "MGM_METRICS must be 0 while the package prometheus-client is missing, got 1: "
            "pip install -e '.[metrics]'"
        )


def metrics_route(
    admission: Admission, held_bytes: Callable[[], int], log: Callable[[Ended], None]
) -> BaseRoute:
    """Return the route of `/metrics`, and have the admission tell it of each visit."""
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        CollectorRegistry,
        Histogram,
        PlatformCollector,
        ProcessCollector,
        generate_latest,
    )
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    waited, served = (
        Histogram(f"mgm_{name}_seconds", text, ["lane"], buckets=_BUCKETS, registry=registry)
        for name, text in (
            ("waited", "How long a request waited"),
            ("served", "How long a request took, without waiting"),
        )
    )

    class Now:
        def collect(self) -> "Iterator[Metric]":
            visits = CounterMetricFamily("mgm_visits", "Requests by outcome", labels=["outcome"])
            for outcome, count in sorted(admission.counts.items()):
                visits.add_metric([outcome], count)
            yield visits
            for name, text, value in (
                ("mgm_running", "Requests that compute", admission.running),
                ("mgm_waiting", "Requests that wait for their turn", admission.waiting),
                ("mgm_results_bytes", "Memory of intermediate results", held_bytes()),
            ):
                yield GaugeMetricFamily(name, text, value=value)

    registry.register(Now())

    def observe(ended: Ended) -> None:
        log(ended)
        if ended.lane is not None:
            waited.labels(ended.lane).observe(ended.waited_s)
            served.labels(ended.lane).observe(ended.served_s)

    admission.on_end = observe

    async def answer(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", answer)
