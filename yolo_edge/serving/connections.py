"""Connections that cannot hurt: few, with small requests that come soon. Below uvicorn's own protocol classes."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from yolo_edge.serving.gate import Refusals

MOST = 96  # connections at a time
REQUEST_S = 10.0  # within which a request has to be there

_STALLED_S = 30.0  # the other side takes nothing of what is on its way
_SWEEP_S = 5.0


class GuardedHttp(H11Protocol):
    """HTTP/1.1 whose requests come whole within ten seconds, on so many connections at most."""

    def __init__(self, refusals: Refusals, **arguments: Any):
        """`refusals` is told of what is refused; the rest is uvicorn's."""
        super().__init__(**arguments)
        self._refusals = refusals
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there."""
        super().connection_made(transport)
        _prepare(transport.get_extra_info("socket"))
        if len(self.connections) > MOST:
            self._refusals(self._address, f"more than {MOST} connections")
            transport.abort()
            return
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """They are gone."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or all of it."""
        before = self.cycle
        super().data_received(data)
        if self not in self.connections or self.cycle is not before:  # it is a WebSocket now
            self._disarm()
        elif self.cycle is None or self.cycle.response_complete:
            self._arm()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP, or too long."""
        self._refusals(self._address, "not an HTTP request, or one that is too long")
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # in the middle of an answer
            self.transport.abort()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else "?"

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(REQUEST_S, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refusals(self._address, f"no whole request within {REQUEST_S:.0f} s")
        self.transport.abort()


def _prepare(connection: "socket.socket | None") -> None:
    """Let answers leave at once, and the kernel end a connection whose other side is gone or reads no more (tcp(7))."""
    if connection is None:
        return
    with suppress(OSError):
        # asyncio sets it for sockets that name their protocol; ours do not, and a body waited 40 ms behind its headers
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1e3 * _STALLED_S))


async def sweep(connections: "set[Any]") -> None:
    """End connections whose other side takes nothing any more, again and again: closing waits for that side."""
    closing: set[Any] = set()
    while True:
        await asyncio.sleep(_SWEEP_S)
        now_closing = {connection for connection in connections if connection.transport.is_closing()}
        for connection in closing & now_closing:
            cast(asyncio.Transport, connection.transport).abort()
        closing = now_closing
