"""Outputs of runs other than text, as the page shows and saves them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from kernels.errors import OutputGone
from kernels.outputs import Display, Omitted
from kernels.registry import Registry
from kernels.run import Run
from kernels.transcript import clean
from server import displays
from server.page.answers import Refused, answer, download

if TYPE_CHECKING:
    from server.page.rendering import Shown

_ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/svg+xml": "svg",
    "text/html": "html",
    "text/markdown": "md",
    "text/latex": "tex",
    "text/plain": "txt",
    "application/json": "json",
    "application/pdf": "pdf",
}
#: Bytes and number of the outputs whose looks are remembered.
_KEPT, _MOST = 8_000_000, 100


class Outputs:
    """Over one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        #: The last ones: some have to be drawn, and each is asked for twice.
        self._kept: OrderedDict[int, tuple[Display, Shown]] = OrderedDict()

    async def facts(self, request: Request, owner: str) -> Response:
        """What an output is, and how it is shown."""
        run, n = self._run(request, owner), int(request.path_params["n"])
        at, value = self._found(run, n)
        facts: dict[str, Any] = {"n": n, "at": at, "html": "", "url": None, "mime": "", "size": 0}
        if not isinstance(value, Display):
            words = value.words if isinstance(value, Omitted) else "An output without a form."
            return answer({**facts, "kind": "other", "alt": words})
        shown = await self._shown(value)
        address = f"/page/runs/{run.id}/outputs/{n}/"
        url = {"image": "image", "svg": "image", "frame": "frame"}.get(shown.kind)
        return answer(
            {
                **facts,
                "kind": shown.kind,
                "alt": clean(shown.alt),
                "html": shown.html,
                "url": address + url if url else None,
                "file": f"{address}file",
                "mime": shown.mime,
                "size": shown.size,
                "width": shown.width,
                "height": shown.height,
            }
        )

    async def data(self, request: Request, owner: str) -> Response:
        """An output as an image, as a document for a frame, or as a file to save."""
        run, n = self._run(request, owner), int(request.path_params["n"])
        _, value = self._found(run, n)
        form = request.path_params["form"]
        if isinstance(value, Display) and form == "file":
            if found := await asyncio.to_thread(_file, run.id, n, value):
                return found
        elif isinstance(value, Display):
            shown = await self._shown(value)
            if shown.body is not None and (shown.kind == "frame") == (form == "frame"):
                return Response(shown.body, media_type=shown.mime)
        raise Refused(404, f"Output {n} of run {run.id} has no {form}.")

    async def _shown(self, display: Display) -> Shown:
        if known := self._kept.get(id(display)):
            self._kept.move_to_end(id(display))
            return known[1]
        shown = await asyncio.to_thread(_look, display)
        self._kept[id(display)] = display, shown
        sizes = [len(each.body or each.html) for _, each in self._kept.values()]
        total = sum(sizes)
        for size in sizes[:-1]:
            if total <= _KEPT and len(self._kept) <= _MOST:
                break
            total -= size
            self._kept.popitem(last=False)
        return shown

    def _run(self, request: Request, owner: str) -> Run:
        return self._registry.find_run(owner, request.path_params["run"])

    @staticmethod
    def _found(run: Run, n: int) -> tuple[int, object]:
        if run.recording.gone:
            raise OutputGone()
        places = run.recording.places
        if not 1 <= n <= len(places):
            so_far = "" if run.done.done() else " so far"
            raise Refused(404, f"Run {run.id} has no output {n}; it has {len(places)}{so_far}.")
        return places[n - 1].at, places[n - 1].slot.value


def _look(display: Display) -> Shown:
    from server.page import rendering

    return rendering.shown(_bundle(display), display.metadata)


def _bundle(display: Display) -> dict[str, Any]:
    return {mime: value for mime, value in dict(display.data).items() if isinstance(mime, str)}


def _file(run_id: str, n: int, display: Display) -> Response | None:
    data = _bundle(display)
    known = [mime for mime in _ENDINGS if mime in data and mime != "text/plain"]
    for mime in [*known, *(mime for mime in data if mime != "text/plain"), *data]:
        _, found = displays.resource(data, mime)
        raw = _utf8(found) if isinstance(found, str) else found
        plain = mime.partition("/")[2].partition("+")[0].rpartition(".")[2]
        ending = _ENDINGS.get(mime) or "".join(filter(str.isalnum, plain))[:12] or "bin"
        return download(raw, f"run {run_id} output {n}.{ending}")
    return None


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
