"""Who may look, what is refused with one line, and that the view goes on."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.demo.serving import Running, next_frame, serving
from tests.support import wait_for
from yolo_edge.demo import server
from yolo_edge.ondevice.errors import InputError
from yolo_edge.serving import connections
from yolo_edge.serving.address import is_loopback, listen, new_token

TOKEN = "correct-horse"  # noqa: S105 - of the tests


@pytest.fixture
def open_demo() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def closed_demo() -> Iterator[Running]:
    with serving(TOKEN) as running:
        yield running


@pytest.mark.parametrize("text", ["", "short", "with space in it", "umlaut-ä-umlaut", "line\nbreaks-it"])
def test_tokens_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--token"):
        new_token(text)


def test_auto_makes_up_a_new_one_each_time() -> None:
    assert len({new_token("auto") for _ in range(20)}) == 20
    assert len(new_token("auto")) >= 20


def test_a_token_opens_the_page(closed_demo: Running) -> None:
    answer, _ = closed_demo.get(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    pair = cookie.split(";")[0]
    assert closed_demo.get("/", Cookie=pair)[0].status == 200
    assert closed_demo.get("/page.js", Cookie=pair)[0].status == 200
    assert closed_demo.get("/snapshot.jpg", Authorization=f"Bearer {TOKEN}")[0].status == 200
    assert closed_demo.get(f"/snapshot.jpg?token={TOKEN}")[0].status == 200
    assert closed_demo.get("/", Cookie=pair, Host="some.name.of.the.network")[0].status == 200
    with closed_demo.look(Cookie=pair) as viewer:
        assert next_frame(viewer)[0]["width"] == 320
    assert closed_demo.notes == []


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/status.json", "/snapshot.jpg", "/stream.mjpeg", "/missing", "/live"]
)
def test_nothing_without_the_token(closed_demo: Running, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_edge.serving.gate._WRONG_S", 0.01)
    wrong = [
        {},
        {"Cookie": f"yolo_edge_{closed_demo.port}=wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
    ]
    for headers in wrong:
        answer, body = closed_demo.get(path, **headers)
        assert answer.status == 401
        assert b"script" not in body
    assert closed_demo.refused() == len(wrong)
    assert all("token for /" in note and TOKEN not in note for note in closed_demo.notes)
    assert closed_demo.goes_on()


@pytest.mark.parametrize("query", ["token=", "&".join(["token=x"] * 30), "token=%ff%fe", "%", "token", "=" * 5000])
def test_strange_queries(closed_demo: Running, query: str) -> None:
    assert closed_demo.get(f"/?{query}")[0].status == 401
    assert [note[:8] for note in closed_demo.notes] == ["refused:"]


@pytest.mark.parametrize("cookie", ["", f"yolo_edge_1={TOKEN}", "yolo_edge_{port}=correct-horsf", "yolo_edge_{port}=ä"])
def test_no_live_view_without_the_token(closed_demo: Running, cookie: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        closed_demo.look(Cookie=cookie.format(port=closed_demo.port).encode().decode("latin-1"))
    assert caught.value.response.status_code == 403
    assert closed_demo.refused() == 1


def test_who_counts_as_this_machine() -> None:
    for host in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"):
        assert is_loopback(host), host
    for host in ("", "0.0.0.0", "::", "192.168.0.1", "localhost.evil.com", "127.0.0.1.evil.com", "2130706433"):  # noqa: S104
        assert not is_loopback(host), host


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "192.168.1.2", "localhost.evil.example", "", "]["])
def test_another_name_for_this_machine_is_refused(open_demo: Running, host: str) -> None:
    for path in ("/", "/live", "/snapshot.jpg"):
        assert open_demo.get(path, Host=host)[0].status == 421
    assert open_demo.refused() == 3
    assert open_demo.get("/", Host="localhost:9999")[0].status == 200  # a forwarded port


def test_pages_of_others_see_nothing(open_demo: Running) -> None:
    for origin in (
        "http://evil.example",
        f"http://evil.example:{open_demo.port}",
        "null",
        "http://127.0.0.1:1",
        "http://[",
    ):
        with pytest.raises(InvalidStatus):
            open_demo.look(Origin=origin)
    with open_demo.look(Origin=f"http://{open_demo.host}") as viewer:
        next_frame(viewer)
    assert open_demo.refused() == 5


# ---- requests that are none


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.js/../demo.py",
        "/demo.py",
        "//etc/passwd",
        "/page.js%00.py",
        "/\\..\\demo.py",
        "/page.js/",
        "/live/",
        "/static/page.js",
    ],
)
def test_no_other_file(open_demo: Running, path: str) -> None:
    answer = open_demo.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.split()[1] == b"404"
    assert b"root:" not in answer
    assert b"import" not in answer
    assert open_demo.goes_on()


HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50 + b"\r\n\r\n", b"400"),  # TLS
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTX/1.1\r\n\r\n", b"400"),
        (HEAD + b"A: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"431"),
        (HEAD + b"A: b\r\n" * 9000 + b"\r\n", b"431"),
        (HEAD + b"A: " + b"a" * 1_000_000, b"400"),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"413"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"413"),
        (HEAD + b"Host: other\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"DELETE /live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"405"),
        (b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"400"),
        (b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
         b"Sec-WebSocket-Version: 1\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", b"400"),
    ],
)  # fmt: skip
def test_malformed_and_oversized_requests(open_demo: Running, data: bytes, status: bytes) -> None:
    answer = open_demo.raw(data + b"\r\n" * 2)
    assert answer.split()[1] == status, answer[:200]
    wait_for(lambda: open_demo.refused() >= 1)
    assert open_demo.refused() == 1
    assert open_demo.goes_on()
    assert open_demo.get("/")[0].status == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300) | st.text("GET /live HTP1.\r\n:%?&=\0", max_size=200).map(str.encode))
def test_random_bytes(open_demo: Running, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", open_demo.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    assert not [note for note in open_demo.notes if not note.startswith("refused: ")]


@pytest.mark.parametrize(
    "message",
    [
        "", "[]", "{", "null", "1", '{"ready": 0}', '{"ready": 3}', '{"ready": true}', '{"ready": "1"}', '{"run": []}',
        '{"run": [0, 0]}', '{"run": [1]}', '{"run": [-1]}', '{"run": 0}', '{"run": [0.0]}', '{"quit": 1}',
        '{"ready": 1, "run": [0]}', "[" * 400, "x" * 600, b"\0\1", '{"ready": 1e999}', '{"run": [' + "9" * 300 + "]}",
    ],
)  # fmt: skip
def test_messages_that_no_page_of_ours_sends(open_demo: Running, message: str | bytes) -> None:
    with open_demo.look() as viewer:
        viewer.send(message)
        with suppress(ConnectionClosed):
            for _ in viewer:  # to the end, which comes
                pass
    wait_for(lambda: open_demo.refused() == 1)
    wait_for(lambda: open_demo.demo.server.viewers == 0)  # type: ignore[union-attr]
    assert open_demo.demo.inference.chosen == (0,)
    assert open_demo.goes_on()


def test_too_many_messages(open_demo: Running) -> None:
    with open_demo.look() as viewer, suppress(ConnectionClosed):
        for _ in range(5000):
            viewer.send('{"run": [0]}')
    wait_for(lambda: "too many messages" in " ".join(open_demo.notes))


def test_slow_requests_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    with serving() as running, ExitStack() as stack:
        slow = []
        for begun in (b"", b"G", HEAD, HEAD + b"A: b\r\n"):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10)))
            slow[-1].sendall(begun)
        # a second request on a connection whose first was whole
        slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=10)))
        slow[-1].sendall(HEAD + b"\r\nGET /p")
        for i in range(8):  # a letter now and then keeps nothing open
            time.sleep(0.1)
            for connection in slow:
                with suppress(ConnectionError):
                    connection.sendall(b"A" if i % 2 else b":")
        for connection in slow:
            with suppress(ConnectionError):
                while connection.recv(1 << 16):
                    pass
        assert running.refused() == 5
        assert running.goes_on()


def test_a_crowd_gets_no_further_than_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 10)
    with serving() as running, ExitStack() as stack:
        viewer = stack.enter_context(running.look())
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", running.port))) for _ in range(30)]
        wait_for(lambda: running.demo.server.refusals.count == 21)  # type: ignore[union-attr]
        next_frame(viewer)  # the view goes on
        for connection in crowd:
            connection.close()
        wait_for(lambda: running.get("/")[0].status == 200)


def test_so_many_viewers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_VIEWERS", 2)
    with serving() as running, running.look() as one, running.look() as other:
        next_frame(one)
        next_frame(other)
        with running.look() as third, pytest.raises(ConnectionClosed, match="1013"):
            third.recv(10)
        assert running.get("/stream.mjpeg")[0].status == 503
        assert running.refused() == 2


def test_refusals_do_not_fill_the_log(open_demo: Running) -> None:
    for _ in range(50):
        open_demo.get("/missing")
    assert open_demo.refused() == 20
    assert "not told of" in open_demo.notes[-1]


def test_a_place_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"--listen 127\.0\.0\.1:{port}: .*in use; --listen 127\.0\.0\.1:{port + 1}"
        ):
            listen("127.0.0.1", port)
    for host in ("no-such-host.invalid", "192.0.2.1"):
        with pytest.raises(InputError, match=f"--listen {host}"):
            listen(host, 0)
