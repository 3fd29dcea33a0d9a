"""A page that is none: it speaks as ours does, over real HTTP, and runs models with this machine's onnxruntime."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

import numpy as np
import onnxruntime as ort

from yolo_edge.devices.web.agent import Models
from yolo_edge.devices.web.package import OrtWeb
from yolo_edge.devices.web.server import WebServer
from yolo_edge.devices.web.session import Session
from yolo_edge.serving.address import listen

FACTS = {
    "label": "Pixel 8",
    "user_agent": "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile",
    "cores": 9,
    "isolated": True,
    "secure": True,
    "clock_us": 5.0,
    "model": "Pixel 8",
    "system": "Android 15.0.0",
    "browser": "Google Chrome 131.0.6778.39",
    "architecture": "arm",
    "bits": "64",
}
NO_ORT = OrtWeb("0.0", b"export {};", b"\0asm\1\0\0\0")
ABOUT = {"ort": "0.0", "models": [], "label": "", "advice": "", "script": "", "wasm": ""}


@dataclass
class Page:
    """Begins, obeys in a thread, answers; `change` may spoil what it answers, `ms` is what an inference takes."""

    port: int
    facts: dict[str, Any] = field(default_factory=lambda: dict(FACTS))
    token: str | None = None
    change: Callable[[str, dict[str, Any], list[np.ndarray]], None] = lambda do, answer, arrays: None
    on_turn: Callable[["Page"], None] = lambda page: None
    ms: float = 10.0
    session: str = ""
    ended: dict[str, Any] | None = None
    orders: list[dict[str, Any]] = field(default_factory=list)
    _stop: bool = False

    def request(
        self, method: str, path: str, body: bytes | None = None, timeout: float = 60, **headers: str
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            named["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body=body, headers=named)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def begin(self) -> int:
        answer, data = self.request("POST", "/begin", json.dumps(self.facts).encode())
        if answer.status == 200:
            self.session = json.loads(data)["session"]
        return answer.status

    def start(self) -> "Page":
        assert self.begin() == 200
        threading.Thread(target=self._obey, daemon=True).start()
        return self

    def stop(self) -> None:
        """Without a word, as when the network is lost."""
        self._stop = True

    def leave(self) -> None:
        self.stop()
        self.request("POST", f"/state?session={self.session}", b"closed")

    def say(self, number: int, answer: dict[str, Any], payload: bytes = b"") -> int:
        text = json.dumps(answer).encode()
        body = len(text).to_bytes(4, "little") + text + payload
        return self.request("POST", f"/answer?session={self.session}&number={number}", body)[0].status

    def _obey(self) -> None:
        last, runtimes = 0, {}
        with suppress(OSError, HTTPException):
            while not self._stop:
                answer, data = self.request("GET", f"/next?session={self.session}&after={last}")
                order = json.loads(data)
                if order.get("do") == "end" or answer.status != 200:
                    self.ended = order
                    return
                if "do" not in order or self._stop:
                    continue
                last = order["number"]
                self.orders.append(order)
                arrays: list[np.ndarray] = []
                said: dict[str, Any] = {}
                if order["do"] == "load":
                    runtimes[order["agent"]] = order
                    said, arrays = self._load(order)
                elif order["do"] == "warm_up":
                    said = {"seconds": 0.1, "settled": True, "median_ms": self.ms, "batch": 1}
                elif order["do"] == "turn":
                    self.on_turn(self)
                    times = np.full(max(order["count"], 5), round(1e6 * self.ms)) + np.arange(max(order["count"], 5))
                    said = {"times_ns": times.tolist(), "window_ns": [0, 1]}
                self.change(order["do"], said, arrays)
                if not self._stop:
                    self.say(last, said, b"".join(array.tobytes() for array in arrays))

    def _load(self, order: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        model = self.request("GET", f"/models/{order['model']}")[1]
        tensor = self.request("GET", f"/inputs/{order['model']}")[1]
        given = order["input"]
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {given["name"]: np.frombuffer(tensor, given["type"]).reshape(given["dims"])})
        names = [output.name for output in session.get_outputs()]
        described = [
            {"name": name, "type": array.dtype.name, "dims": list(array.shape)}
            for name, array in zip(names, outputs, strict=True)
        ]
        said = {"start_ms": 90.0, "load_ms": 30.0, "first_ms": 12.0, "threads": order["threads"], "outputs": described}
        return said, [np.array(array) for array in outputs]


@dataclass
class Serving:
    """A server of a session without models, and what it noted."""

    server: WebServer
    session: Session
    notes: list[str]

    @property
    def port(self) -> int:
        return self.server.port


@contextmanager
def serving(token: str | None = None) -> Iterator[Serving]:
    notes: list[str] = []
    session = Session(notes.append)
    with WebServer(
        listen("127.0.0.1", 0), session, Models(), NO_ORT, about=ABOUT, token=token, certificate=None, note=notes.append
    ) as server:
        yield Serving(server, session, notes)
