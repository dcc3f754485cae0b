"""Serves an aiohttp application until the process is told to stop."""

from __future__ import annotations

from aiohttp import web

from examples.common.process import listen, until_stopped
from examples.common.settings import Settings

DRAIN_S = 10.0
"""Longest time that live requests get to finish after SIGTERM."""


async def healthz(_: web.Request) -> web.Response:
    """Answers when the process is up."""
    return web.Response(text="ok\n")


async def serve_http(app: web.Application, settings: Settings) -> None:
    """Adds `/healthz` to `app`, listens as `settings` say and returns after a clean stop."""
    app.router.add_get("/healthz", healthz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=DRAIN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listen(settings.host, settings.port)).start()
        await until_stopped()
    finally:
        await runner.cleanup()
