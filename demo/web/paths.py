"""Paths behind a proxy that serves the page below a path of its own, as https://host/matting/.

Some proxies take their path off and some do not; `root_path` (GRADIO_ROOT_PATH) is the same in
both.
"""

from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["mounted", "path_of_route"]


def path_of_route(scope: Scope) -> str:
    """Return the path that a request asks this server for, without the proxy's own."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def mounted(path: str, app: ASGIApp) -> list[BaseRoute]:
    """Return the routes that serve an application under a path, behind either kind of proxy.

    Args:
        path: Without slashes around it.
        app: The application.
    """

    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "")
        asked = scope.get("path", "")
        # Mounts below a mount compare the path with all of `root_path`: what the proxy took off
        # has to be there again.
        if not f"{asked}/".startswith(f"{root}/"):
            scope = {**scope, "path": root.removesuffix(f"/{path}") + asked}
        await app(scope, receive, send)

    return [
        # Relative: the browser knows the proxy's path.
        Route(f"/{path}", lambda _: RedirectResponse(f"{path}/")),
        Mount(f"/{path}", below),
    ]
