"""Who may look: a token, the right host, small requests. What is refused makes one line, and nothing else happens."""

import asyncio
import base64
import hashlib
import hmac
import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yolo_edge.demo.address import is_loopback
from yolo_edge.ondevice.files import printable

LONGEST_REQUEST = 16 << 10  # bytes of a request line and headers

_LINES, _PER_S = 20, 60.0  # refusals that are told of, in so many seconds
_TOLD = (404, 405, 413, 431)  # the others have lines of their own, or are no refusals
_WRONG_S = 0.5  # an answer to a wrong token takes so long: guessing is slow

_LOGIN_STYLE = (
    "body{margin:15vh auto;max-width:24em;padding:0 1em;font:16px/1.5 system-ui,sans-serif;color-scheme:light dark}"
    "input,button{font:inherit;padding:.4em .6em}input{width:100%;box-sizing:border-box;margin:.4em 0 .8em}"
)
_LOGIN = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>yolo-edge demo</title><link rel="icon" href="data:,"><style>{_LOGIN_STYLE}</style>
<h1>yolo-edge demo</h1>
<form action="/" method="get"><label for="token">This view asks for a token. It is in the address that
<code>yolo-edge demo</code> printed.</label>
<input id="token" name="token" autocomplete="off" autocapitalize="off" spellcheck="false" required autofocus>
<button>Look</button></form></html>
"""
_LOGIN_HASH = base64.b64encode(hashlib.sha256(_LOGIN_STYLE.encode()).digest()).decode()

_FRAME = "base-uri 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    f"form-action 'none'; {_FRAME}"
)
_LOGIN_POLICY = f"default-src 'none'; style-src 'sha256-{_LOGIN_HASH}'; img-src data:; form-action 'self'; {_FRAME}"
_HEADERS = {
    "Content-Security-Policy": _PAGE_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refusals:
    """Tells of what was refused: a line each, and no more than twenty a minute."""

    def __init__(self, note: Callable[[str], None]):
        """`note` is told.

        Attributes:
            count: How many there were.
        """
        self.count = 0
        self._note = note
        self._lock = threading.Lock()
        self._begun, self._told, self._silent = 0.0, 0, 0

    def __call__(self, address: str, why: str) -> None:
        """Somebody at `address` was refused something."""
        with self._lock:
            self.count += 1
            now = time.monotonic()
            if now - self._begun > _PER_S:
                if self._silent:
                    self._note(f"refused: {self._silent} more requests")
                self._begun, self._told, self._silent = now, 0, 0
            if self._told >= _LINES:
                self._silent += 1
                return
            self._told += 1
            more = "; more of it in the next minute is not told of" if self._told == _LINES else ""
            self._note(f"refused: {address}: {printable(why)[:120]}{more}")


class Gate:
    """Lets requests through to an application, or refuses them; adds the headers that keep a page to itself.

    Without a token only names of this machine are served: a page elsewhere whose name is made to point here (DNS
    rebinding) is refused. A WebSocket must come from a page of the same address.
    """

    def __init__(self, app: ASGIApp, token: str | None, port: int, refusals: Refusals):
        """Guard `app`, with a token or without one."""
        self._app, self._token, self._refusals = app, token, refusals
        self._cookie = f"yolo_edge_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] in _TOLD:
                    self._refusals(address(scope), f"{scope['method']} {scope['path']} ({message['status']})")
            await send(message)

        response = await self._refusal(scope)
        if response is None:
            await self._app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await response(scope, receive, send_guarded)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if scope["type"] == "http":
            size = len(scope["raw_path"]) + len(scope["query_string"])
            if size + sum(len(name) + len(value) for name, value in scope["headers"]) > LONGEST_REQUEST:
                return PlainTextResponse("the request is too long\n", 431, {"Connection": "close"})
            if scope["method"] not in ("GET", "HEAD"):
                return PlainTextResponse("only GET\n", 405, {"Allow": "GET, HEAD", "Connection": "close"})
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                return PlainTextResponse("no request here has a body\n", 413, {"Connection": "close"})
        if self._token is None and not is_loopback(_hostname(host)):
            self._refusals(address(scope), f"host {host[:60]!r} is not this machine")
            return PlainTextResponse("this view is for this machine; look at it by the name localhost\n", 421)
        if scope["type"] == "websocket":
            origin = headers.get("origin")
            if origin is not None and not _same(origin, host):
                self._refusals(address(scope), f"a page of {origin[:60]!r} wants to look")
                return PlainTextResponse("another page's request\n", 403)
        return None if self._token is None else await self._check_token(scope, headers, self._token)

    async def _check_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        in_query = _query_token(scope["query_string"])
        kind, _, in_header = headers.get("authorization", "").partition(" ")
        given = in_query or (in_header.strip() if kind.lower() == "bearer" else "")
        given = given or cookie_parser(headers.get("cookie", "")).get(self._cookie, "")
        if hmac.compare_digest(given.encode(), token.encode()):
            if in_query and scope["type"] == "http" and scope["path"] == "/":
                # so that the token does not stay in the address, nor goes on with it
                response: Response = RedirectResponse("/", 303)
                response.set_cookie(self._cookie, token, httponly=True, samesite="strict")
                return response
            return None
        self._refusals(address(scope), f"{'a wrong' if given else 'no'} token for {scope['path']}")
        if given:
            await asyncio.sleep(_WRONG_S)
        if scope["type"] == "http" and scope["path"] == "/":
            return HTMLResponse(_LOGIN, 401, {"Content-Security-Policy": _LOGIN_POLICY})
        return PlainTextResponse("a token is needed\n", 401)


def address(scope: Scope) -> str:
    """Where a request comes from."""
    client = scope.get("client")
    return str(client[0]) if client else "?"


def _query_token(query: bytes) -> str:
    try:
        return parse_qs(query.decode("latin-1"), max_num_fields=20).get("token", [""])[0]
    except ValueError:  # too many fields
        return ""


def _same(origin: str, host: str) -> bool:
    """Whether a page of `origin` came from `host`."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _hostname(host: str) -> str:
    """`localhost:80`, `[::1]:80` → without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
