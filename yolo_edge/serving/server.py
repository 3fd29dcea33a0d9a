"""A server of pages in a thread of its own."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from yolo_edge.ondevice.errors import YoloEdgeError
from yolo_edge.serving.connections import GuardedHttp, sweep
from yolo_edge.serving.gate import LONGEST_REQUEST, Gate, Refusals, Site

_START_S, _STOP_S = 20.0, 5.0


class PageServer:
    """Serves an application behind a gate.

    Attributes:
        refusals: What was refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        *,
        token: str | None,
        site: Site,
        refusals: Refusals,
        note: Callable[[str], None],
        on_start: Callable[[], None] = lambda: None,
        certificate: tuple[Path, Path] | None = None,
        **options: Any,
    ):
        """Nothing is served yet.

        Args:
            app: What is served.
            listening: The socket; it belongs to the server from now on.
            token: What viewers have to know; None: nothing.
            site: See `Gate`.
            refusals: Is told of what is refused.
            note: Is told of failures.
            on_start: Called in the server's event loop before anything is served.
            certificate: Files of a certificate and its key, for HTTPS; None: HTTP.
            **options: More of uvicorn's.
        """
        self.refusals = refusals
        self._socket, self._on_start = listening, on_start
        _quiet(note)
        if certificate is not None:
            options.update(ssl_certfile=certificate[0], ssl_keyfile=certificate[1])
        config = uvicorn.Config(
            Gate(app, token, listening.getsockname()[1], refusals, site),
            http=cast(Any, partial(GuardedHttp, refusals)),
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            h11_max_incomplete_event_size=LONGEST_REQUEST,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            **options,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    @property
    def port(self) -> int:
        """That it listens on."""
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> set[Any]:
        """Those that are open."""
        return self._server.server_state.connections

    def start(self) -> None:
        """Begin to serve.

        Raises:
            YoloEdgeError: It did not begin.
        """
        self._thread.start()
        end = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise YoloEdgeError("the server of the page did not start")
            time.sleep(0.01)

    def stop(self, farewell: Callable[[], None] = lambda: None) -> None:
        """End the thread; `farewell` is called before, where it ran."""
        if self._thread.ident is not None:
            with suppress(RuntimeError):  # its loop is closed already
                farewell()
            self._server.should_exit = True
            self._thread.join(_STOP_S)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._on_start()
        sweeper = asyncio.create_task(sweep(self.connections))
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            sweeper.cancel()
            for connection in list(self.connections):
                connection.transport.abort()
            await asyncio.sleep(0)


class _Handler(logging.Handler):
    """What uvicorn thinks is an error, in one line."""

    def __init__(self, note: Callable[[str], None]):
        super().__init__(logging.ERROR)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._note(f"view: {record.getMessage().strip()}" + (f": {type(error).__name__}: {error}" if error else ""))


def _quiet(note: Callable[[str], None]) -> None:
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
            logger.removeHandler(handler)
        logger.addHandler(_Handler(note))
        logger.setLevel(logging.ERROR)
        logger.propagate = False
