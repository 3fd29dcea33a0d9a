"""What the server serves, and that viewers who come and go leave nothing behind."""

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from tests.demo.serving import Running, next_frame, serving
from tests.demo.support import FakeSource, demo_of, grey, names_of_threads, scripted
from tests.support import wait_for
from yolo_edge.serving import connections

TOKEN = "correct-horse"  # noqa: S105 - of the tests


@pytest.fixture
def open_demo() -> Iterator[Running]:
    with serving() as running:
        yield running


def test_the_page_and_nothing_else(open_demo: Running) -> None:
    answer, body = open_demo.get("/")
    assert answer.status == 200
    text = body.decode()
    linked = re.findall(r'(?:src|href)="([^":]+)"', text)
    assert {"page.js", "style.css", "stream.mjpeg"} <= set(linked)
    for name in linked:
        if name != "stream.mjpeg":
            assert open_demo.get(f"/{name}")[0].status == 200, name
    for module in re.findall(r'from "\./(.+?)"', open_demo.get("/page.js")[1].decode()):
        assert open_demo.get(f"/{module}")[0].status == 200
    assert "<script>" not in text
    assert " style=" not in text
    assert "onclick" not in text


def test_headers_keep_the_page_to_itself(open_demo: Running) -> None:
    for path in ("/", "/page.js", "/snapshot.jpg", "/status.json", "/missing"):
        headers = open_demo.get(path, Origin="http://elsewhere")[0].headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        assert headers["Server"] is None


def test_pictures_come_when_they_are_asked_for(open_demo: Running) -> None:
    with open_demo.look() as viewer:
        hello = json.loads(viewer.recv(10))
        assert hello["type"] == "hello"
        assert hello["models"][0]["classes"] == ["qr_code", "aruco_marker", "barcode"]
        numbers = []
        for _ in range(5):
            header, image = next_frame(viewer)
            numbers.append(header["number"])
            assert image.shape == (240, 320, 3)
            assert abs(int(image[-1, -1, 0]) - header["number"] % 200) < 4
            assert header["found"][0]["boxes"] == [[0, 0.9, 4, 8, 30, 40]]
            assert (header["width"], header["height"]) == (320, 240)
            assert header["latency_ms"] >= header["waited_ms"] >= 0
        assert numbers == sorted(set(numbers))
        # without being asked: figures, and no pictures
        messages = [viewer.recv(10) for _ in range(2)]
        assert [json.loads(message)["type"] for message in messages if isinstance(message, str)] == ["status"] * 2
        assert json.loads(messages[-1])["viewers"] == 1
    wait_for(lambda: open_demo.demo.server.viewers == 0)  # type: ignore[union-attr]


def test_large_pictures_are_made_smaller() -> None:
    with demo_of(FakeSource(lambda i: grey(i % 9, 3000, 1000), live=True), [scripted()], view=True) as demo:
        running = Running(demo, demo.server.port)  # type: ignore[union-attr]
        with running.look() as viewer:
            header, image = next_frame(viewer)
    assert (header["width"], header["height"]) == (3000, 1000)
    assert image.shape == (427, 1280, 3)


def test_for_old_browsers_and_for_programs(open_demo: Running) -> None:
    answer, body = open_demo.get("/snapshot.jpg")
    assert answer.headers["Content-Type"] == "image/jpeg"
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    line = image[8, 10:28].astype(int)
    assert (line[:, 2] - line[:, 0]).max() > 60  # with the red box
    # libav, as a browser of its own
    capture = cv2.VideoCapture(f"http://{open_demo.host}/stream.mjpeg", cv2.CAP_FFMPEG)
    assert all(capture.read()[0] for _ in range(5))
    wait_for(lambda: open_demo.demo.server.viewers == 1)  # type: ignore[union-attr]
    capture.release()
    wait_for(lambda: open_demo.demo.server.viewers == 0)  # type: ignore[union-attr]
    wait_for(lambda: open_demo.demo.status.latest)
    status = json.loads(open_demo.get("/status.json")[1])
    assert status["fps"] >= 0
    assert status["source"] == {"name": "fake", "live": True}


def test_models_are_switched_for_all() -> None:
    models = [scripted(lambda i: [(0, 0.9)]), scripted(lambda i: [(1, 0.8)])]
    with serving(models=models) as running, running.look() as one, running.look() as other:
        assert next_frame(other)[0]["found"][0]["model"] == 0
        one.send('{"run": [1, 0]}')
        found = wait_for(lambda: (items := next_frame(other)[0]["found"]) and len(items) == 2 and items)
        assert [(item["model"], item["boxes"][0][0]) for item in found] == [(1, 1), (0, 0)]
        one.send('{"run": [1]}')
        wait_for(lambda: len(next_frame(other)[0]["found"]) == 1)


def test_the_end_is_told() -> None:
    source = FakeSource(lambda i: grey(i) if i < 50 else None)
    with ExitStack() as stack:
        demo = stack.enter_context(demo_of(source, [scripted()], view=True, fps=50))
        running = Running(demo, demo.server.port)  # type: ignore[union-attr]
        viewer = stack.enter_context(running.look())
        demo.run(threading.Event())
        ending = threading.Thread(target=demo.__exit__)
        ending.start()
        last = [message for message in viewer if isinstance(message, str)][-1]
        ending.join()
    assert json.loads(last) == {"type": "end", "text": "the source ended"}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_viewers_come_and_go_and_nothing_stays() -> None:
    """The short form of benchmarks/scripts/demo_soak.py: twenty at a time, three hundred in all."""
    threads, files = names_of_threads(), descriptors()
    stop, failures = threading.Event(), []

    def come_and_go(running: Running, seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(15):
                with running.look() as viewer:
                    for _ in range(int(rng.integers(0, 4))):
                        next_frame(viewer)
                    if rng.random() < 0.3:  # gone without a word
                        viewer.socket.shutdown(socket.SHUT_RDWR)
        except (OSError, ConnectionClosed, AssertionError) as error:
            failures.append(error)

    with serving() as running:
        sizes = []
        for turn in range(2):
            crowd = [threading.Thread(target=come_and_go, args=(running, 100 * turn + i)) for i in range(20)]
            for visitor in crowd:
                visitor.start()
            for visitor in crowd:
                visitor.join()
            wait_for(lambda: running.demo.server.viewers == 0)  # type: ignore[union-attr]
            sizes.append(resident_mb())
        stop.set()
        assert failures == []
        assert running.notes == []
        assert running.goes_on()
        assert sizes[1] - sizes[0] < 10
    assert names_of_threads() == threads
    wait_for(lambda: descriptors() <= files)


def test_a_viewer_that_takes_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_SWEEP_S", 0.2)
    monkeypatch.setattr(connections, "_STALLED_S", 1.0)
    with ExitStack() as later, serving() as running:
        stalled = later.enter_context(running.look())
        stalled.send('{"ready": 2}')
        raw = later.enter_context(socket.socket())
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        raw.connect(("127.0.0.1", running.port))
        raw.sendall(b"GET /stream.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with running.look() as viewer:
            numbers = [next_frame(viewer)[0]["number"] for _ in range(20)]
            assert numbers == sorted(set(numbers))
            # the stream that nobody reads gives its place back; a page that asks for nothing may stay
            wait_for(lambda: running.demo.server.viewers == 2, 60)  # type: ignore[union-attr]
        running.demo.__exit__()  # the end waits for nobody
        assert not {"server", "inference", "reader", "status"} & set(names_of_threads())
