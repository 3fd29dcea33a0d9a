"""What happens when something is there: presence, lamps, calls and programs."""

import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.demo.support import NAMES, FakeSource, demo_of, grey, names_of_threads, scripted
from tests.support import runs, wait_for
from yolo_edge.demo import actions
from yolo_edge.demo.actions import Lamps, Program, Webhook, Worker
from yolo_edge.demo.demo import Demo, Settings
from yolo_edge.demo.presence import Presence
from yolo_edge.ondevice.errors import InputError

gpiozero = pytest.importorskip("gpiozero")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_presence_is_what_its_definition_says(seen: list[bool], on_after: int, off_after: int) -> None:
    presence, there = Presence(on_after, off_after), False
    for i in range(len(seen)):
        # by the definition, from all frames so far
        needed = off_after if there else on_after
        changed = i + 1 >= needed and all(value is not there for value in seen[i + 1 - needed : i + 1])
        there = not there if changed else there
        assert presence.update(seen[i]) is changed
        assert presence.there is there


@pytest.fixture
def pins() -> Iterator[Any]:
    """gpiozero's mock pins."""
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    before, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, factory
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


def test_lamps_follow_frame_by_frame(pins: Any) -> None:
    """On and off in the very frame that completes the hysteresis."""
    script = [0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    states: list[tuple[int, int]] = []
    model = scripted(lambda i: [(0, 0.9)] if script[i] else [(2, 0.2)])
    source = FakeSource(lambda i: grey(0) if i < len(script) else None)
    settings = Settings(gpio={"qr_code": 17, "barcode": 18}, on_after=2, off_after=3)
    demo = Demo(source, [model], settings, print)
    demo._sinks.append(lambda result: states.append((pins.pin(17).state, pins.pin(18).state)))
    with demo:
        wait_for(demo.inference.done.is_set)
    #                frames: 0  0  1  0  1  1  1  0  1  0  0  1  0  0  0  0  1  1  1  1
    assert [a for a, _ in states] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert {b for _, b in states} == {0}  # its confidence is below
    assert pins.pin(17).state == 0  # off at the end


def test_a_lost_camera_puts_the_lamp_out(pins: Any) -> None:
    source = FakeSource(lambda i: grey(0) if i < 5 else None, live=True)
    with demo_of(source, [scripted()], gpio={"qr_code": 17}, on_after=1) as demo:
        wait_for(lambda: pins.pin(17).state)
        wait_for(lambda: demo.reader.lost and not pins.pin(17).state)


def test_a_lamp_that_fails_stops_nothing(pins: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise OSError("the chip is gone")

    monkeypatch.setattr(gpiozero.LED, "on", fail)
    notes: list[str] = []
    model = scripted(lambda i: [(0, 0.9)] if i % 2 else [])
    with demo_of(
        FakeSource(lambda i: grey(0)), [model], gpio={"qr_code": 17}, on_after=1, off_after=1, notes=notes
    ) as demo:
        wait_for(lambda: demo.inference.frames > 20)
    assert len([note for note in notes if "the chip is gone" in note]) == 1


def test_pins_that_are_not_there(pins: Any) -> None:
    with pytest.raises(InputError, match="--gpio: pin 99 cannot be used here"):
        Lamps({"qr_code": 99})
    Lamps({"qr_code": 17}).close()
    Lamps({"qr_code": 17}).close()  # it was given back


NO_HTTP = 0


class Hook(BaseHTTPRequestHandler):
    """A server that keeps what is posted, and fails when it is told to."""

    posts: list[dict[str, Any]]
    codes: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/json"
        self.posts.append(json.loads(body))
        code = self.codes.pop(0) if self.codes else 204
        if code == NO_HTTP:
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            return
        self.send_response(code)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[str, type[Hook]]]:
    handler = type("ThisHook", (Hook,), {"posts": [], "codes": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="hook")
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", handler
    server.shutdown()
    server.server_close()
    thread.join()


def blinking(period: int) -> Any:
    return scripted(lambda i: [(0, 0.9), (1, 0.8)] if i // period % 2 else [])


def test_a_webhook_is_told_of_coming_and_going(hook: tuple[str, type[Hook]]) -> None:
    url, server = hook
    source = FakeSource(lambda i: grey(0) if i < 12 else None)
    with demo_of(source, [blinking(4)], webhook=url, on_after=2, off_after=2) as demo:
        wait_for(demo.inference.done.is_set)
        wait_for(lambda: len(server.posts) == 4)
    assert sorted((post["event"], post["class"], post["frame"]) for post in server.posts) == [
        ("appeared", "aruco_marker", 5),
        ("appeared", "qr_code", 5),
        ("gone", "aruco_marker", 9),
        ("gone", "qr_code", 9),
    ]
    first = next(post for post in server.posts if post["event"] == "appeared" and post["class"] == "qr_code")
    assert first["detections"] == [{"class": "qr_code", "class_id": 0, "confidence": 0.9, "box": [4, 8, 30, 40]}]
    assert abs(first["time"] - time.time()) < 60


def test_calls_are_limited_and_every_going_has_its_coming(hook: tuple[str, type[Hook]]) -> None:
    url, server = hook
    source = FakeSource(lambda i: grey(0) if i < 500 else None)
    with demo_of(source, [blinking(2)], webhook=url, on_after=1, off_after=1, every=1000) as demo:
        wait_for(demo.inference.done.is_set)
        wait_for(lambda: len(server.posts) >= 4)
    assert len(server.posts) == 4  # of 500 changes
    assert {(post["event"], post["class"]) for post in server.posts} == {
        (event, name) for event in ("appeared", "gone") for name in NAMES[:2]
    }


def test_a_failing_webhook_says_so_once_and_works_again(hook: tuple[str, type[Hook]]) -> None:
    url, server = hook
    server.codes += [500, 302, 404, NO_HTTP]  # redirects are not followed
    notes: list[str] = []
    worker = Worker("--webhook", Webhook(url), notes.append)
    for i in range(6):
        worker.put({"event": "appeared", "class": str(i)})
    worker.close(10)
    assert [post["class"] for post in server.posts] == ["0", "1", "2", "3", "4", "5"]
    assert (worker.done, worker.failed) == (2, 4)
    assert len(notes) == 2
    assert "it answered 500 (said once" in notes[0]
    assert "works again, after 4 failures" in notes[1]


def test_nobody_there_and_no_end_of_events() -> None:
    notes: list[str] = []
    source = FakeSource(lambda i: grey(0) if i < 200 else None)
    with demo_of(
        source, [blinking(1)], webhook="http://127.0.0.1:9/", on_after=1, off_after=1, every=0, notes=notes
    ) as demo:
        wait_for(demo.inference.done.is_set)
        assert demo.inference.frames == 200
        assert demo.inference.error is None
    assert len(notes) == 1
    (worker,) = demo.workers
    assert worker.left_out + worker.failed + worker._events.qsize() >= 390


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/", "http://", "http://a b/", "x", "http://h:x/"])
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="--webhook: expected http"):
        Webhook(url)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_program_gets_the_event_and_no_shell(tmp_path: Path) -> None:
    hostile = "$(touch pwned); `touch pwned` && \n'\"\0x"
    program = script(tmp_path / "a program", 'cat > "$1"; printf %s "$YOLO_EDGE_CLASS" > "$2"; echo noise')
    Program([str(program), str(tmp_path / "out 1"), str(tmp_path / "out 2")])({"event": "appeared", "class": hostile})
    assert json.loads((tmp_path / "out 1").read_text()) == {"event": "appeared", "class": hostile}
    assert (tmp_path / "out 2").read_text() == hostile.replace("\0", "")
    assert len(list(tmp_path.iterdir())) == 3


def test_programs_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_PROGRAM_S", 0.3)
    with pytest.raises(InputError, match="no such program"):
        Program(["/no such program"])
    gone = script(tmp_path / "gone", "exit 0")
    program = Program([str(gone)])
    gone.unlink()
    with pytest.raises(FileNotFoundError):
        program({"event": "gone", "class": "x"})
    for command, message in (
        ([str(script(tmp_path / "a", "exit 3"))], "exit code 3"),
        (["sleep", "60"], "longer than"),
    ):
        notes: list[str] = []
        worker = Worker("--exec", Program(command), notes.append)
        worker.put({"event": "gone", "class": "x"})
        wait_for(lambda worker=worker: worker.failed)
        worker.close()
        assert len(notes) == 1
        assert message in notes[0]
    assert names_of_threads().count("--exec") == 0


def test_a_program_that_runs_at_the_end_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path / "p", f"sleep 60 & echo $$ $! > {tmp_path}/pids; wait")
    worker = Worker("--exec", Program([str(program)]), print)
    worker.put({"event": "gone", "class": "x"})
    wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().strip())
    worker.close(0.2)
    itself, what_it_started = map(int, (tmp_path / "pids").read_text().split())
    with pytest.raises(ProcessLookupError):
        os.kill(itself, 0)
    wait_for(lambda: not runs(what_it_started))


def test_the_view_goes_on_while_a_program_hangs() -> None:
    with demo_of(
        FakeSource(lambda i: grey(0)), [blinking(1)], command=["sleep", "60"], on_after=1, off_after=1, every=0
    ) as demo:
        wait_for(lambda: demo.inference.frames > 100)
        (worker,) = demo.workers
        assert worker.left_out > 50
    wait_for(lambda: "--exec" not in names_of_threads())
