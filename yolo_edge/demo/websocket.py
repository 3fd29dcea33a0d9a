"""The WebSocket of the page. Below uvicorn's own protocol class."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from yolo_edge.serving.gate import Refusals

LONGEST_MESSAGE = 512  # bytes of a message from a page


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that tells of requests that are none."""

    def __init__(self, refusals: Refusals, **arguments: Any):
        """`refusals` is told of what is refused; the rest is uvicorn's."""
        super().__init__(**arguments)
        self._refusals = refusals

    def handle_connect(self, event: Any) -> None:
        """A request for a WebSocket is there."""
        super().handle_connect(event)
        if self.response.status_code != 101:
            self._refusals(self.client[0] if self.client else "?", "not a request for a WebSocket")
