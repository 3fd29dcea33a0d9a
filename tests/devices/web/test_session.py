"""The server of the page and its one session: who is let in, what is refused, what is told when a page goes away."""

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.devices.web.page import FACTS, NO_ORT, Page, serving
from tests.support import wait_for
from yolo_edge.devices.device import DeviceError
from yolo_edge.devices.web import session as sessions
from yolo_edge.devices.web.facts import host_of, read_facts
from yolo_edge.devices.web.server import read_answer
from yolo_edge.ondevice.errors import YoloEdgeError

TOKEN = "correct-horse"  # noqa: S105 - of the tests


def test_a_page_is_isolated_and_gets_its_files() -> None:
    with serving() as here:
        page = Page(here.port)
        for path in ("/", "/page.js", "/page.css", "/worker.js", "/about.json"):
            answer, data = page.request("GET", path)
            assert (answer.status, bool(data)) == (200, True)
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert page.request("GET", "/ort/ort-wasm-simd-threaded.wasm")[1] == NO_ORT.wasm
        for path in ("/session.py", "/models/0", "/inputs/0", "/models/-1", "/ort/../page.js", "/ort/"):
            assert page.request("GET", path)[0].status == 404
        assert here.notes[0] == "refused: 127.0.0.1: GET /session.py (404)"


def test_commands_and_answers() -> None:
    with serving() as here:
        page = Page(here.port).start()
        assert here.session.wait_for_page().label == "Pixel 8"
        here.session.tell("warming up", 3, 10)
        assert here.session.ask("conditions", 60) == ({}, b"")
        assert page.orders[0] == {
            "number": 1,
            "do": "conditions",
            "progress": {"text": "warming up", "done": 3, "total": 10},
        }
        assert here.session.ask("turn", 60, count=2, agent=1)[0]["window_ns"] == [0, 1]
        here.session.close("it is done", {"cells": []})
        wait_for(lambda: page.ended, 60)
        assert page.ended == {"do": "end", "text": "it is done", "result": {"cells": []}}
        assert here.notes == []


def test_a_command_is_given_again_until_it_is_answered() -> None:
    """A connection that broke while the command was on its way loses nothing, and answers count once."""
    with serving() as here:
        page = Page(here.port)
        page.begin()
        import threading

        found: list[Any] = []
        asking = threading.Thread(target=lambda: found.append(here.session.ask("conditions", 60)))
        asking.start()
        orders = [json.loads(page.request("GET", f"/next?session={page.session}&after=0")[1]) for _ in range(2)]
        assert orders[0] == orders[1]
        assert page.say(1, {"charging": True}) == 200
        assert page.say(1, {"charging": False}) == 200
        assert page.say(7, {"charging": False}) == 200
        asking.join(60)
        assert found == [({"charging": True}, b"")]


def test_what_fails_there_is_told_here() -> None:
    def fail(do: str, answer: dict[str, Any], arrays: list[Any]) -> None:
        answer["error"] = "no memory\x1b[31m"

    with serving() as here:
        Page(here.port, change=fail).start()
        here.session.wait_for_page()
        with pytest.raises(YoloEdgeError, match=r"^Pixel 8: no memory\?\[31m$"):
            here.session.ask("conditions", 60)


def test_one_page_at_a_time() -> None:
    with serving() as here:
        first, second = Page(here.port), Page(here.port)
        assert first.begin() == 200
        assert second.begin() == 409
        second.session = "guessed"
        assert second.request("GET", "/next?session=guessed&after=0")[0].status == 409
        assert second.say(1, {}) == 409
        assert second.request("POST", "/state?session=guessed", b"closed")[0].status == 409
        assert here.notes[0] == "refused: 127.0.0.1: another page is being measured, or was: one at a time"
        # the first one goes on
        first.leave()
        assert first.begin() == 409


def test_a_page_that_is_closed_ends_it_at_once() -> None:
    with serving() as here:
        page = Page(here.port, on_turn=Page.leave).start()
        here.session.wait_for_page()
        began = time.monotonic()
        with pytest.raises(DeviceError, match=r"^Pixel 8: the page was closed before the end$"):
            here.session.ask("turn", 600, count=1)
        assert time.monotonic() - began < 60
        with pytest.raises(DeviceError, match="closed"):
            here.session.ask("turn", 600, count=1)
        assert page.ended is None


def test_a_page_that_goes_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "GRACE_S", 0.5)
    monkeypatch.setattr(sessions, "POLL_S", 0.2)
    with serving() as here:
        Page(here.port, on_turn=Page.stop).start()
        here.session.wait_for_page()
        with pytest.raises(DeviceError, match="nothing is heard of the page"):
            here.session.ask("turn", 600, count=1)


def test_a_page_that_polls_and_never_answers_runs_into_the_limit() -> None:
    with serving() as here:
        page = Page(here.port)
        page.begin()
        with pytest.raises(DeviceError, match=r"no answer to 'turn' within 1 s: is the page in front"):
            here.session.ask("turn", 1, count=1)


def test_a_page_in_the_background_is_told_of_once() -> None:
    with serving() as here:
        page = Page(here.port)
        page.begin()
        for state in (b"hidden", b"hidden", b"visible", b"hidden"):
            assert page.request("POST", f"/state?session={page.session}", state)[0].status == 200
        assert page.request("POST", f"/state?session={page.session}", b"else")[0].status == 400
        told = [note for note in here.notes if "background" in note]
        assert told == ["Pixel 8: the page is in the background, nothing is measured: bring it to the front"] * 2


def test_a_page_that_goes_while_it_says_so() -> None:
    """Half of a body is refused, as everywhere, and no failure of the server."""
    with serving() as here:
        page = Page(here.port)
        page.begin()
        with socket.create_connection(("127.0.0.1", here.port)) as cut:
            head = f"POST /state?session={page.session} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n"
            cut.sendall(head.encode() + b"clo")
        wait_for(lambda: here.notes, 60)
    assert len(here.notes) == 1
    assert here.notes[0].endswith("a state that is none (it did not come whole)")


def test_the_end_tells_the_page() -> None:
    with serving() as here:
        page = Page(here.port).start()
        here.session.wait_for_page()
        here.session.ask("conditions", 60)
    wait_for(lambda: page.ended, 60)
    assert page.ended is not None
    assert page.ended["text"] == "it was stopped"


# ---- who is let in


def test_a_wrong_token_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.serving.gate._WRONG_S", 0.01)
    with serving(TOKEN) as here:
        for token in ("wrong-horse", None):
            page = Page(here.port, token=token)
            assert page.begin() == 401
            for path in ("/page.js", "/about.json", "/models/0", "/next?session=&after=0"):
                assert page.request("GET", path)[0].status == 401
            login = page.request("GET", "/")
            assert (login[0].status, b"yolo-edge devices web" in login[1]) == (401, True)
        assert here.session.facts is None
        answer, _ = Page(here.port).request("GET", f"/?token={TOKEN}")
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert Page(here.port, token=TOKEN).begin() == 200


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/begin", {"Origin": "http://evil.example"}, b"{}", 403),
        ("POST", "/begin", {"Host": "evil.example"}, b"{}", 421),
        ("POST", "/begin", {}, b"x" * 17_000, 413),
        ("POST", "/answer?session=&number=1", {"Content-Length": "99999999999"}, b"", 413),
        ("POST", "/begin", {"Transfer-Encoding": "chunked"}, b"0\r\n\r\n", 411),
        ("POST", "/page.js", {}, b"{}", 405),
        ("POST", "/next", {}, b"{}", 405),
        ("PUT", "/begin", {}, b"{}", 405),
        ("GET", "/begin", {}, None, 405),
        ("GET", "/about.json", {}, b"{}", 413),
        ("GET", "/next?session=&after=0", {}, None, 409),
        ("GET", "/next?session=&after=%C2%B2", {}, None, 409),
        ("GET", "/models/" + "9" * 5000, {}, None, 404),
        ("GET", "/models/%C2%B2", {}, None, 404),
        ("POST", "/begin", {"Content-Length": "9" * 5000}, b"", 400),
    ],
)
def test_requests_that_no_page_of_ours_makes(
    method: str, path: str, headers: dict[str, str], body: bytes | None, status: int
) -> None:
    with serving() as here:
        assert Page(here.port).request(method, path, body, **headers)[0].status == status
        wait_for(lambda: len(here.notes) == 1, 60)
        assert here.notes[0].startswith("refused: ")
        assert Page(here.port).begin() == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"label": ""},
        {"label": "   "},
        {"label": "Local"},
        {"label": "x" * 61},
        {"cores": 0},
        {"cores": 5000},
        {"cores": "9"},
        {"clock_us": 0},
        {"user_agent": "x" * 1001},
        {"isolated": 1},
        {"secure": None},
    ],
)
def test_facts_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_facts(json.dumps({**FACTS, **changes}).encode())
    with serving() as here:
        page = Page(here.port, facts={**FACTS, **changes})
        assert page.begin() == 400
        assert here.session.facts is None


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps({**FACTS, "label": text}).encode()))
@settings(max_examples=200)
def test_facts_are_facts_or_refused(data: bytes) -> None:
    try:
        found = read_facts(data)
    except ValueError:
        return
    assert found.label == found.label.strip()
    assert found.label.isprintable()


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_answers_are_objects_or_refused(data: bytes) -> None:
    for body in (data, len(data).to_bytes(4, "little") + data, b"\2\0\0\0{}" + data):
        try:
            found = read_answer(body)[0]
        except ValueError:
            continue
        assert isinstance(found, dict)


def test_deep_answers_are_refused() -> None:
    text = b"[" * 100_000
    with pytest.raises(ValueError, match="deep"):
        read_answer(len(text).to_bytes(4, "little") + text)


@pytest.mark.parametrize(
    ("agent", "known", "expected"),
    [
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.2 Mobile/15E148 Safari/604.1",
            {},
            ("iPhone", "iOS 18.2", "Safari 18.2", "unknown"),
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 17_6_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1",
            {},
            ("iPad", "iPadOS 17.6.1", "Chrome 131.0.6778.73", "unknown"),
        ),
        (
            "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0",
            {},
            (None, "Android 14", "Firefox 133.0", "unknown"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 "
            "Chrome/125.0.0.0 Mobile Safari/537.36",
            {"model": "SM-S911B", "system": "Android 14.0.0", "architecture": "arm", "bits": "64"},
            ("SM-S911B", "Android 14.0.0", "Samsung Internet 27.0", "aarch64"),
        ),
        (FACTS["user_agent"], {**FACTS}, ("Pixel 8", "Android 15.0.0", "Google Chrome 131.0.6778.39", "aarch64")),
        ("curl/8", {}, (None, "unknown", "unknown", "unknown")),
    ],
)
def test_browsers_by_what_they_call_themselves(
    agent: str, known: dict[str, Any], expected: tuple[str | None, ...]
) -> None:
    plain = {key: FACTS[key] for key in ("label", "cores", "isolated", "secure", "clock_us")}
    host = host_of(read_facts(json.dumps({**plain, **known, "user_agent": agent}).encode()), "1.0")
    assert (host["model"], host["os"], host["versions"]["browser"], host["machine"]) == expected
    assert host["browser"]["user_agent"] == agent
