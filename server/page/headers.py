"""What the page demands of a browser's request, and what it forbids the browser to do with the
answer. All that keeps the output of a program from being more than output, beside the rendering."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers as Read
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.remote.gate import OWN_WORDS

#: Where the page's own files are, which are neither private nor anything that a program has made.
STATIC = "/page/static/"
#: Of the page itself. Frames are confined to this server also when they go elsewhere by
#: themselves, which nothing but `frame-src` of the page forbids them.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; frame-src 'self'; manifest-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types page"
)
#: Of HTML that a program has shown: its scripts run, in an origin of their own, and reach nothing.
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; media-src data: blob:; font-src data:; "
    "frame-ancestors 'self'; connect-src 'none'; form-action 'none'; base-uri 'none'"
)
#: Of everything else, which is data.
DATA_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

_EVERYWHERE = {
    # No content security policy forbids WebRTC, nor the connections that browsers open before they
    # find out that a navigation is forbidden. Browsers that do not know this leave both possible to
    # a frame: a packet or a connection, but no request.
    "connection-allowlist": "(response-origin)",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-dns-prefetch-control": "off",
    "permissions-policy": ", ".join(
        f"{feature}=()"
        for feature in (
            "accelerometer",
            "autoplay",
            "camera",
            "clipboard-read",
            "display-capture",
            "encrypted-media",
            "fullscreen",
            "geolocation",
            "gyroscope",
            "hid",
            "idle-detection",
            "magnetometer",
            "microphone",
            "midi",
            "payment",
            "picture-in-picture",
            "publickey-credentials-get",
            "screen-wake-lock",
            "serial",
            "sync-xhr",
            "usb",
            "xr-spatial-tracking",
        )
    ),
}
#: As what browsers may load data: by fetch, in <img>, as a download. Never as script or style.
_USES = {"empty", "image", "document"}
_CODE = ("javascript", "ecmascript", "css", "wasm")


class Headers:
    """Around the page's application.

    Controls are taken from the page alone: POST of JSON with `X-Rmi-Page: 1`, from this origin.
    Data are given to the page and to those who type their address; frames only into a frame.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        scope[OWN_WORDS] = True

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _guard(path, MutableHeaders(scope=message))
            await send(message)

        words = _refusal(scope)
        app = JSONResponse({"error": words}, 403) if words else self._app
        await app(scope, receive, guarded)


def _refusal(scope: Scope) -> str:
    """Why a request is not answered; "" when it is."""
    headers, path = Read(scope=scope), scope["path"]
    if scope["method"] not in ("GET", "HEAD"):
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if not _from_page(headers):
            return "Another page sent this. Use the page of this server."
        if kind != "application/json" or headers.get("x-rmi-page") != "1":
            return "Controls take JSON with the header `X-Rmi-Page: 1`."
    elif not _is_own(path):
        # Browsers tell these where the page is loopback or came by https; nobody else needs to.
        use = headers.get("sec-fetch-dest")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "Another page asked for this. Use the page of this server."
        if use is not None and use not in ({"iframe"} if _is_frame(path) else _USES):
            return "This is data of the page, and cannot be used in this way."
    return ""


def _from_page(headers: Read) -> bool:
    """Whether a control comes from a page of this origin, or from no browser. What stands around
    the server lets pages of other ports of this machine through, and SameSite does not know
    ports either."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
        host = urlsplit(f"{parts.scheme}://{headers.get('host', '')}")
        usual = {"http": 80, "https": 443}.get(parts.scheme)
        return (
            usual is not None
            and parts.hostname is not None
            and (parts.hostname, parts.port or usual) == (host.hostname, host.port or usual)
        )
    except ValueError:
        return False


def _guard(path: str, headers: MutableHeaders) -> None:
    frame = _is_frame(path)
    for name, value in _EVERYWHERE.items():
        headers[name] = value
    headers["x-frame-options"] = "SAMEORIGIN" if frame else "DENY"
    if _is_own(path):
        headers["content-security-policy"] = PAGE_POLICY
        # The program's own files: they may be kept, and are asked for again each time.
        headers.setdefault("cache-control", "no-cache")
        return
    headers["content-security-policy"] = FRAME_POLICY if frame else DATA_POLICY
    headers["cache-control"] = "no-store"
    if any(word in headers.get("content-type", "").lower() for word in _CODE):
        headers["content-type"] = "application/octet-stream"


def _is_own(path: str) -> bool:
    return path == "/" or path.startswith(STATIC)


def _is_frame(path: str) -> bool:
    return path.startswith("/page/runs/") and path.endswith("/frame")
