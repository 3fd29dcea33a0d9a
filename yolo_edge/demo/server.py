"""The server of the page, in a thread of its own."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from yolo_edge._version import __version__
from yolo_edge.demo.inference import SIDE_BY_SIDE, Inference, Result
from yolo_edge.demo.status import HISTORY, Counts, Status
from yolo_edge.demo.view import Shared, encode_drawn, encode_live
from yolo_edge.demo.websocket import LONGEST_MESSAGE, GuardedWebSocket
from yolo_edge.serving.files import application, read_files
from yolo_edge.serving.gate import Refusals, Site, address
from yolo_edge.serving.server import PageServer

MOST_VIEWERS = 32

_HERE = Path(__file__).parent
_FILES = {
    "/": ("page.html", "text/html"),
    "/boxes.js": ("boxes.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
    "/live.js": ("live.js", "text/javascript"),
    "/old.js": ("old.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
}
_AHEAD = 2  # pictures on their way to a page: one is drawn while the next comes
_MESSAGES_PER_S, _BURST = 60.0, 120.0
_BOUNDARY = b"yolo-edge-frame"


class Server:
    """Serves the page and what it shows.

    Attributes:
        live, drawn: The newest results; `publish` is for the inference thread.
        refusals: What was refused.
    """

    def __init__(
        self,
        listening: socket.socket,
        *,
        token: str | None,
        inference: Inference,
        counts: Counts,
        about: dict[str, Any],
        confidence: float,
        note: Callable[[str], None],
    ):
        """Nothing is served yet.

        Args:
            listening: The socket; it belongs to the server from now on.
            token: What viewers have to know; None: nothing.
            inference: To choose models of.
            counts: Whose history a new viewer gets.
            about: What the page is told first, as JSON.
            confidence: What is at or below is not drawn for browsers that do not draw themselves.
            note: Is told of refusals and failures.
        """
        self.refusals = Refusals(note)
        self.status: Status | None = None
        self._pool = ThreadPoolExecutor(1, "encoder")
        self.live = Shared(encode_live, self._pool)
        self.drawn = Shared(encode_drawn(inference.models, confidence), self._pool)
        self._inference, self._counts, self._about = inference, counts, about
        self._viewers = 0
        self._ending = ""
        self._end: asyncio.Event | None = None
        self._pages = PageServer(
            application(read_files(_HERE, _FILES), self._routes()),
            listening,
            token=token,
            site=Site("yolo-edge demo"),
            refusals=self.refusals,
            note=note,
            on_start=self._attach,
            ws=cast(Any, partial(GuardedWebSocket, self.refusals)),
            ws_max_size=LONGEST_MESSAGE,
            ws_per_message_deflate=False,
        )

    @property
    def port(self) -> int:
        """That it listens on."""
        return self._pages.port

    @property
    def connections(self) -> set[Any]:
        """Those that are open."""
        return self._pages.connections

    @property
    def viewers(self) -> int:
        """How many look."""
        return self._viewers

    def publish(self, result: Result) -> None:
        """Show a new result, to those who look."""
        self.live.publish(result)
        self.drawn.publish(result)

    def start(self, status: Status) -> None:
        """Begin to serve.

        Raises:
            YoloEdgeError: It did not begin.
        """
        self.status = status
        self._pages.start()

    def stop(self, text: str) -> None:
        """Tell the viewers why, and end the thread."""
        self._ending = text
        self._pages.stop(self._say_goodbye)
        self._pool.shutdown()

    def _say_goodbye(self) -> None:
        loop, end = self.live.loop, self._end
        if loop is not None and end is not None:
            loop.call_soon_threadsafe(end.set)
            time.sleep(0.1)

    def _attach(self) -> None:
        self._end = asyncio.Event()
        self.live.attach(asyncio.get_running_loop())
        self.drawn.attach(asyncio.get_running_loop())

    def _routes(self) -> list[BaseRoute]:
        return [
            Route("/status.json", self._status_json, methods=["GET"]),
            Route("/snapshot.jpg", self._snapshot, methods=["GET"]),
            Route("/stream.mjpeg", self._stream, methods=["GET"]),
            WebSocketRoute("/live", self._live),
        ]

    async def _status_json(self, request: Request) -> Response:
        return JSONResponse({**self._about, **(self.status.latest if self.status else {})})

    async def _snapshot(self, request: Request) -> Response:
        try:
            _, data = await asyncio.wait_for(self.drawn.newer(-1), 5)
        except asyncio.TimeoutError:
            return PlainTextResponse("there is no picture yet\n", 503)
        return Response(data, media_type="image/jpeg")

    async def _stream(self, request: Request) -> Response:
        if self._viewers >= MOST_VIEWERS:
            self.refusals(address(request.scope), f"more than {MOST_VIEWERS} viewers")
            return PlainTextResponse("too many look already\n", 503)
        return StreamingResponse(self._parts(), media_type=f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}")

    async def _parts(self) -> AsyncIterator[bytes]:
        self._viewers += 1
        try:
            number = -1
            while not self._ending:
                number, data = await self.drawn.newer(number)
                yield b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
                    _BOUNDARY,
                    len(data),
                    data,
                )
        finally:
            self._viewers -= 1

    async def _live(self, websocket: WebSocket) -> None:
        await websocket.accept()
        if self._viewers >= MOST_VIEWERS:
            self.refusals(address(websocket.scope), f"more than {MOST_VIEWERS} viewers")
            await websocket.close(1013, "too many look already")
            return
        self._viewers += 1
        viewer = _Viewer(self, websocket)
        tasks = [asyncio.ensure_future(job) for job in (viewer.hear(), viewer.show(), viewer.tell(), self._wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._ending and websocket.application_state is WebSocketState.CONNECTED:
                await websocket.send_text(json.dumps({"type": "end", "text": self._ending}))
                await websocket.close(1001)
        except (WebSocketDisconnect, RuntimeError):
            pass  # gone meanwhile
        finally:
            self._viewers -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self) -> None:
        if self._end is not None:
            await self._end.wait()

    def hello(self) -> dict[str, Any]:
        """What a page is told first."""
        return {
            "type": "hello",
            "version": __version__,
            **self._about,
            "chosen": list(self._inference.chosen),
            "side_by_side": SIDE_BY_SIDE,
            "history": list(self._counts.history),
            "history_s": HISTORY,
        }

    def choose(self, numbers: list[int]) -> None:
        """Run other models, for all who look."""
        self._inference.choose(numbers)


class _Viewer:
    """One page that looks."""

    def __init__(self, server: Server, websocket: WebSocket):
        self._server, self._websocket = server, websocket
        self._wanted, self._asked = 0, asyncio.Event()
        self._allowance, self._heard = _BURST, time.monotonic()

    async def show(self) -> None:
        """Send pictures, as fast as the page asks for them."""
        number = -1
        while True:
            while not self._wanted:
                self._asked.clear()
                await self._asked.wait()
            self._wanted -= 1
            number, data = await self._server.live.newer(number)
            await self._websocket.send_bytes(data)

    async def tell(self) -> None:
        """Send what stands beside the picture, once a second."""
        await self._websocket.send_text(json.dumps(self._server.hello()))
        second = -1
        while True:
            status = self._server.status
            if status is not None and status.second != second:
                second = status.second
                await self._websocket.send_text(json.dumps({"type": "status", **status.latest}))
            await asyncio.sleep(0.25)

    async def hear(self) -> None:
        """Take what the page says; anything else than what ours say ends it."""
        while True:
            message = await self._websocket.receive()
            if message["type"] != "websocket.receive":
                if message.get("code") in (1002, 1007, 1009):
                    self._refuse("a WebSocket message that is damaged or too long")
                return
            now = time.monotonic()
            self._allowance = min(self._allowance + (now - self._heard) * _MESSAGES_PER_S, _BURST) - 1
            self._heard = now
            try:
                if self._allowance < 0:
                    raise ValueError("too many messages")
                self._obey(json.loads(message.get("text") or ""))
            except (ValueError, RecursionError, KeyError, TypeError) as error:
                self._refuse(f"a WebSocket message that no page of ours sends ({error})")
                await self._websocket.close(1008)
                return

    def _obey(self, said: Any) -> None:
        if not isinstance(said, dict) or len(said) != 1:
            raise ValueError("expected one command")
        ((command, value),) = said.items()
        if command == "ready":  # for so many more pictures
            if type(value) is not int or not 1 <= value <= _AHEAD:
                raise ValueError(f"expected 1..{_AHEAD}")
            self._wanted = min(self._wanted + value, _AHEAD)
            self._asked.set()
        elif command == "run":
            if not isinstance(value, list) or not all(type(number) is int for number in value):
                raise ValueError("expected numbers of models")
            self._server.choose(value)
        else:
            raise ValueError("an unknown command")

    def _refuse(self, why: str) -> None:
        self._server.refusals(address(self._websocket.scope), why)
