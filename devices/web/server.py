"""The server of the page: its files, the models, commands and answers."""

import asyncio
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from yolo_edge.devices.web.agent import Models
from yolo_edge.devices.web.facts import read_facts
from yolo_edge.devices.web.package import SCRIPT, WASM, OrtWeb
from yolo_edge.devices.web.reference import Reference
from yolo_edge.devices.web.session import Session
from yolo_edge.serving.files import application, read_files
from yolo_edge.serving.gate import Refusals, Site, address
from yolo_edge.serving.server import PageServer

COMMAND = "yolo-edge devices web"

_HERE = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/worker.js": ("worker.js", "text/javascript"),
}
_SMALL = 16 << 10  # bytes of what a page tells of itself
_TURN = 16 << 20  # bytes of the times of a turn
_LAST_S = 3.0  # for the page to hear that it is over
_BODY_S = 120.0  # for an answer to be there, over a slow network
_HEADERS = {
    # what makes a page cross-origin isolated, with the opener policy that all our pages have
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class WebServer:
    """Serves one session. A context manager: leaving it tells the page, and ends the server."""

    def __init__(
        self,
        listening: socket.socket,
        session: Session,
        models: Models,
        ort: OrtWeb,
        *,
        about: Mapping[str, Any],
        token: str | None,
        certificate: Path | None,
        note: Callable[[str], None],
    ):
        """Nothing is served yet.

        Args:
            listening: The socket; it belongs to the server from now on.
            session: Of the page.
            models: That it can be given.
            ort: What runs them.
            about: What the page is told first, as JSON.
            token: What it has to know; None: nothing.
            certificate: A PEM file with a key, for HTTPS; None: HTTP.
            note: Is told of refusals and failures.
        """
        self._session, self._models, self._about = session, models, dict(about)
        self._refusals = Refusals(note)
        files = read_files(_HERE, _FILES)
        files[f"/ort/{SCRIPT}"] = (ort.script, "text/javascript")
        files[f"/ort/{WASM}"] = (ort.wasm, "application/wasm")
        outputs = max((reference.output_bytes for reference in models.references), default=0)
        posts = {"/begin": _SMALL, "/state": _SMALL, "/answer": _TURN + 2 * outputs}
        self._pages = PageServer(
            application(files, self._routes(posts)),
            listening,
            token=token,
            site=Site(COMMAND, posts, _HEADERS),
            refusals=self._refusals,
            note=note,
            certificate=None if certificate is None else (certificate, certificate),
            ws="none",
        )

    def __enter__(self) -> "WebServer":
        self._pages.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close("it was stopped")
        self._session.wait_until_told(_LAST_S)
        self._pages.stop()

    @property
    def port(self) -> int:
        """That it listens on."""
        return self._pages.port

    def _routes(self, posts: Iterable[str]) -> list[Route]:
        handlers = {"/begin": self._begin, "/state": self._state, "/answer": self._answer}
        return [
            Route("/about.json", self._about_json, methods=["GET"]),
            Route("/models/{number}", self._model, methods=["GET"]),
            Route("/inputs/{number}", self._input, methods=["GET"]),
            Route("/next", self._next, methods=["GET"]),
            *(Route(path, handlers[path], methods=["POST"]) for path in posts),
        ]

    async def _about_json(self, request: Request) -> Response:
        return JSONResponse(self._about)

    async def _model(self, request: Request) -> Response:
        reference = self._asked_for(request)
        if reference is None:
            return PlainTextResponse("no such model\n", 404)
        data = await asyncio.to_thread(reference.path.read_bytes)
        return Response(data, media_type="application/octet-stream")

    async def _input(self, request: Request) -> Response:
        reference = self._asked_for(request)
        if reference is None:
            return PlainTextResponse("no such input\n", 404)
        return Response(reference.tensor.tobytes(), media_type="application/octet-stream")

    def _asked_for(self, request: Request) -> Reference | None:
        number = _number(request.path_params["number"])
        return None if number is None or number >= len(self._models.references) else self._models.references[number]

    async def _begin(self, request: Request) -> Response:
        try:
            facts = read_facts(await _body(request))
        except ValueError as error:
            return self._refuse(request, 400, f"facts that are none ({error})")
        session = self._session.begin(facts)
        if session is None:
            return self._refuse(request, 409, "another page is being measured, or was: one at a time")
        return JSONResponse({"session": session})

    async def _next(self, request: Request) -> Response:
        after = _number(request.query_params.get("after", ""))
        if after is None or not self._session.knows(request.query_params.get("session", "")):
            return self._refuse(request, 409, "not the page that is measured")
        gone = asyncio.ensure_future(_until_gone(request))
        try:
            return Response(await self._session.next(after, gone), media_type="application/json")
        finally:
            gone.cancel()

    async def _answer(self, request: Request) -> Response:
        number = _number(request.query_params.get("number", ""))
        if number is None or not self._session.knows(request.query_params.get("session", "")):
            return self._refuse(request, 409, "not the page that is measured")
        try:
            answer, payload = read_answer(await _body(request))
        except ValueError as error:
            return self._refuse(request, 400, f"an answer that is none ({error})")
        self._session.take(number, answer, payload)
        return JSONResponse({})

    async def _state(self, request: Request) -> Response:
        """The page was closed, or put into the background, or is back."""
        if not self._session.knows(request.query_params.get("session", "")):
            return self._refuse(request, 409, "not the page that is measured")
        try:
            state = await _body(request)
        except ValueError as error:
            return self._refuse(request, 400, f"a state that is none ({error})")
        if state == b"closed":
            self._session.leave()
        elif state in (b"hidden", b"visible"):
            self._session.hide(state == b"hidden")
        else:
            return self._refuse(request, 400, "a state that is none")
        return JSONResponse({})

    def _refuse(self, request: Request, status: int, why: str) -> Response:
        self._refusals(address(request.scope), why)
        return JSONResponse({"error": why}, status)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def read_answer(data: bytes) -> tuple[dict[str, Any], bytes]:
    """A body of four bytes, little-endian, of the length of the JSON behind them, and the bytes behind that.

    Raises:
        ValueError: It is something else.
    """
    length = int.from_bytes(data[:4], "little")
    if len(data) < 4 + length:
        raise ValueError("it is cut")
    try:
        answer = json.loads(data[4 : 4 + length])
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    if not isinstance(answer, dict):
        raise ValueError("no object")
    return answer, data[4 + length :]


async def _body(request: Request) -> bytes:
    """Raise ValueError where it is not there in time, or never."""
    try:
        return await asyncio.wait_for(request.body(), _BODY_S)
    except (asyncio.TimeoutError, ClientDisconnect) as error:
        raise ValueError("it did not come whole") from error


async def _until_gone(request: Request) -> None:
    with suppress(RuntimeError):
        while (await request.receive())["type"] != "http.disconnect":
            pass
