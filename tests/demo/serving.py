"""A demo with a page, and programs that look at it."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import cv2
import numpy as np
from websockets.sync.client import ClientConnection, connect

from tests.demo.support import FakeSource, demo_of, grey, scripted
from tests.support import wait_for
from yolo_edge.demo.demo import Demo

TOKEN = "correct-horse"  # noqa: S105 - of the tests


@dataclass
class Running:
    """A demo with a page, and how to speak to it."""

    demo: Demo
    port: int
    notes: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """Send bytes, read to the end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as connection:
            connection.sendall(data)
            found = b""
            with suppress(ConnectionError):
                while part := connection.recv(1 << 16):
                    found += part
            return found

    def look(self, **headers: str) -> ClientConnection:
        return connect(f"ws://{self.host}/live", additional_headers=headers, compression=None, max_size=1 << 24)

    def refused(self) -> int:
        return len([note for note in self.notes if note.startswith("refused: ")])

    def goes_on(self) -> bool:
        before = self.demo.inference.frames
        wait_for(lambda: self.demo.inference.frames > before + 2)
        return True


def picture(i: int) -> np.ndarray:
    time.sleep(0.005)
    return grey(i % 200, 320, 240)


@contextmanager
def serving(token: str | None = None, **options: Any) -> Iterator[Running]:
    notes: list[str] = []
    models = options.pop("models", [scripted()])
    with demo_of(FakeSource(picture, live=True), models, view=True, notes=notes, token=token, **options) as demo:
        assert demo.server is not None
        running = Running(demo, demo.server.port, notes)
        wait_for(lambda: demo.inference.frames)
        yield running


def frame_of(data: bytes) -> tuple[dict[str, Any], np.ndarray]:
    length = int.from_bytes(data[:4], "little")
    image = cv2.imdecode(np.frombuffer(data[4 + length :], np.uint8), cv2.IMREAD_COLOR)
    return json.loads(data[4 : 4 + length]), np.asarray(image)


def next_frame(viewer: ClientConnection) -> tuple[dict[str, Any], np.ndarray]:
    viewer.send('{"ready": 1}')
    while isinstance(message := viewer.recv(10), str):
        pass
    return frame_of(message)
