"""The page: one application that shows an owner what happens in their sessions, as it happens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from kernels.registry import Registry
from server.app import version
from server.audit import Audit
from server.page.answers import Handler, guarded, refusal
from server.page.api import Api
from server.page.controls import Controls
from server.page.feeds import Feeds
from server.page.headers import Headers
from server.page.login import Logins
from server.page.outputs import Outputs
from server.settings import Settings

_STATIC = Path(__file__).parent / "static"
_COMPRESSED = [Middleware(GZipMiddleware)]


def is_of_page(path: str) -> bool:
    """Whether a request for this path is the page's."""
    return path == "/" or path.startswith("/page/")


class Page:
    """Over one registry, whose watcher `feeds` is. `calls`: controls a minute that each owner
    has, which `audits` record."""

    def __init__(
        self,
        registry: Registry,
        feeds: Feeds,
        settings: Settings,
        logins: Logins,
        calls: int,
        audits: Sequence[Audit] = (),
    ) -> None:
        self._logins = logins
        self._api = Api(registry, feeds, version(), logins.needed, logins.owner)
        self._outputs = Outputs(registry)
        self._controls = Controls(registry, feeds, settings.timeout, calls, audits)

    def app(self) -> Starlette:
        """The application, to which requests go that are the page's (see `is_of_page`)."""
        return Starlette(
            routes=self.routes(),
            middleware=[Middleware(Headers)],
            exception_handlers={HTTPException: _refused},
        )

    def routes(self) -> list[BaseRoute]:
        """What it answers."""
        api, outputs = self._api, self._outputs
        run = "/page/runs/{run:str}"
        return [
            # The program's own files alone are compressed: they hold no secrets.
            Route("/", _index, methods=["GET"], middleware=_COMPRESSED),
            Route("/page/static/code.css", _code_style, methods=["GET"], middleware=_COMPRESSED),
            Mount("/page/static", StaticFiles(directory=_STATIC), middleware=_COMPRESSED),
            Route("/page/login", self._logins.log_in, methods=["POST"]),
            Route("/page/logout", self._logins.log_out, methods=["POST"]),
            self._route("/page/state", api.state),
            self._route("/page/events", api.events),
            self._route(run, api.run),
            self._route(f"{run}/text", api.text),
            self._route(f"{run}/outputs/{{n:int}}", outputs.facts),
            *(
                self._route(f"{run}/outputs/{{n:int}}/{form}", outputs.data, form)
                for form in ("image", "frame", "file")
            ),
            self._route("/page/history", api.history),
            self._route("/page/notebook", api.notebook),
            self._route("/page/do", self._controls.do, method="POST"),
        ]

    def _route(self, path: str, handler: Handler, form: str = "", method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            request.path_params["form"] = form
            return await guarded(handler, request, self._logins.owner(request))

        return Route(path, endpoint, methods=[method])


async def _index(_: Request) -> Response:
    return FileResponse(_STATIC / "index.html", media_type="text/html")


@functools.cache
def _styles() -> str:
    from server.page import rendering

    return rendering.css()


async def _code_style(_: Request) -> Response:
    return Response(_styles(), media_type="text/css")


async def _refused(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    words = {
        404: "There is nothing at this address.",
        405: "This address takes no such request.",
        413: "The request is too large.",
    }
    return refusal(status, words.get(status, "The request cannot be answered as it is."))
