"""What tests of the demo share: videos, a network camera, a model whose detections are written down, a running demo."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np

from yolo_edge.demo.demo import Demo, Settings
from yolo_edge.demo.inference import Model
from yolo_edge.demo.sources import Source, Taken
from yolo_edge.ondevice.detections import Detections
from yolo_edge.ondevice.detector import Detector

NAMES = ("qr_code", "aruco_marker", "barcode")


def grey(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def write_video(path: Path, images: Sequence[np.ndarray], fps: float = 12.5, codec: str = "MJPG") -> Path:
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


def read_video(path: Path) -> tuple[float, list[np.ndarray]]:
    """Frame rate and frames of a video that another program than ours could have opened."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.isOpened()
    images = []
    while (taken := capture.read())[0]:
        images.append(np.asarray(taken[1]))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return fps, images


class NetworkCamera:
    """A camera that serves MJPEG over HTTP, as many on the market do; it can be taken away and put back."""

    def __init__(self, fps: float = 20):
        self.fps = fps
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self._gone = threading.Event()

    @property
    def url(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.port}/video.mjpg"

    def put_back(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                level = 0
                try:
                    while not camera._gone.is_set():
                        data = cv2.imencode(".jpg", grey(level % 256))[1].tobytes()
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        level += 10
                        time.sleep(1 / camera.fps)
                except OSError:
                    pass  # the viewer went away

            def log_message(self, *_: object) -> None:
                pass

        self._gone.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="camera", daemon=True).start()

    def take_away(self) -> None:
        assert self._server is not None
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()


class FakeSource:
    """Pictures from a function of their number; None ends it, or loses it where it is live."""

    def __init__(self, picture: Callable[[int], np.ndarray | None], *, live: bool = False, fps: float | None = None):
        self.name, self.live, self.fps, self.frames = "fake", live, fps, None
        self.opened = self.closed = 0
        self._picture, self._next = picture, 0

    def open(self) -> None:
        self.opened += 1

    def read(self) -> Taken | None:
        image = self._picture(self._next)
        self._next += 1
        return None if image is None else (image, time.monotonic())

    def close(self) -> None:
        self.closed += 1


class Scripted:
    """Stands for a detector: what it finds in its n-th picture is written down, as (class id, confidence) pairs."""

    def __init__(self, script: Callable[[int], Sequence[tuple[int, float]]], seconds: float = 0):
        self.calls = 0
        self._script, self._seconds = script, seconds
        size = SimpleNamespace(width=64, height=48)
        self.spec = SimpleNamespace(names=NAMES, precision="fp32", input=size)
        self.runtime = SimpleNamespace(name="script", threads=1, run=self._run)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, None]:
        return image, None

    def postprocess(self, outputs: Any, placement: None) -> Detections:
        found = sorted(outputs, key=lambda pair: -pair[1])
        boxes = np.array([[4 + 8 * i, 8, 30 + 8 * i, 40] for i in range(len(found))], np.float32).reshape(-1, 4)
        return Detections(
            boxes, np.array([pair[1] for pair in found], np.float32), np.array([pair[0] for pair in found], np.int64)
        )

    def _run(self, tensor: np.ndarray) -> Sequence[tuple[int, float]]:
        time.sleep(self._seconds)
        self.calls += 1
        return self._script(self.calls - 1)


def scripted(script: Callable[[int], Sequence[tuple[int, float]]] = lambda i: [(0, 0.9)], seconds: float = 0) -> Model:
    return Model("script", cast(Detector, Scripted(script, seconds)))


@contextmanager
def demo_of(
    source: Source, models: Sequence[Model], *, view: bool = False, notes: list[str] | None = None, **settings: Any
) -> Iterator[Demo]:
    """A running demo, on a port of its own where it has a page."""
    listening = socket.create_server(("127.0.0.1", 0)) if view else None
    told = notes if notes is not None else []
    with Demo(source, models, Settings(**settings), told.append, listening) as demo:
        yield demo


def names_of_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())
