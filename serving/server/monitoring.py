"""What machines ask beside the model: whether the server lives, whether it answers, and its metrics.

Answered on the REST port, and on a port of its own where one is configured: always in plain HTTP there, for probes and
scrapers that have no client certificate.
"""

from collections.abc import Callable

from aiohttp import web

from serving.server.metrics import CONTENT_TYPE, Metrics

LIVE = "/healthz"
READY = "/readyz"
METRICS = ("/metrics", "/monitoring/prometheus/metrics")
"""Prometheus' usual path, and TF Serving's."""


def monitoring_routes(metrics: Metrics, is_ready: Callable[[], bool]) -> list[web.RouteDef]:
    """The routes, all GET.

    Args:
        metrics: what is printed.
        is_ready: whether a version answers and the server is not stopping.
    """

    async def live(request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(request: web.Request) -> web.Response:
        return web.Response(text="ready\n") if is_ready() else web.Response(text="not ready\n", status=503)

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    return [web.get(LIVE, live), web.get(READY, ready), *(web.get(path, page) for path in METRICS)]
